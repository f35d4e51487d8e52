"""From a model's file to predictions: LiteRT without TensorFlow, or a ``.keras`` file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import are_probabilities, noise_images
from mnist_utils._support.stderr import quiet_stderr
from mnist_utils.evaluation.calibration import apply_temperature
from mnist_utils.preprocessing.decode import Polarity
from mnist_utils.preprocessing.reader import PreprocessedImage, preprocess
from mnist_utils.runs.model_files import ModelError, import_command, load_keras_file, refuse_other_forms

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]
FORMAT = 2  # of a run's folder; in 1 (no such key) the model was not calibrated, and validation predictions were not kept
_BATCH = 500  # images at once, which bounds the memory
_SPREAD = 3.0  # of how many digits, equally probable, the probabilities of an image unlike digits have the entropy


def load_model(path: Path) -> Predict:
    """Load a model.

    Parameters
    ----------
    path : Path
        A ``.tflite`` file, or a ``.keras`` file, which takes the seconds that importing Keras takes.

    Returns
    -------
    callable
        Takes (n, 28, 28) values from 0 to 255, white on black, returns (n, classes) float32 probabilities, calibrated
        where the file belongs to a run. Not safe to call from two threads at once.

    Raises
    ------
    ModelError
        If the file is missing, not such a model, would run code on load, takes or returns another shape, does not scale its
        input, or returns no probabilities.
    """
    refuse_other_forms(path)
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    predict_some = _load_keras(path) if path.suffix == ".keras" else _load_litert(path)
    if not are_probabilities(predict_some(noise_images())):
        raise ModelError(f"{path} returns no probabilities: its rows do not sum to 1, as those of logits; {_fix(path)}")

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        if len(images) <= _BATCH:
            return predict_some(images)
        return np.concatenate([predict_some(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)])

    return predict


def _load_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(str(path))
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a LiteRT model: {str(error).splitlines()[0]}") from None
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _check_shapes(path, tuple(given["shape_signature"]), tuple(returned["shape_signature"]))
    if given["dtype"] is not np.float32:
        raise ModelError(f"{path} takes numbers of type {given['dtype'].__name__}; allowed: float32")
    temperature = missing_temperature(path.parent)

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(images, np.float32)[..., None]
        if not len(batch):
            return np.zeros((0, int(returned["shape_signature"][1])), np.float32)
        if interpreter.get_input_details()[0]["shape"][0] != len(batch):
            interpreter.resize_tensor_input(given["index"], batch.shape)
            interpreter.allocate_tensors()
        try:
            interpreter.set_tensor(given["index"], batch)
            interpreter.invoke()
        except RuntimeError as error:
            raise ModelError(f"{path} cannot predict: {str(error).splitlines()[0]}") from None
        found = np.asarray(interpreter.get_tensor(returned["index"]), np.float32)
        return found if temperature == 1 else apply_temperature(found, temperature).astype(np.float32)

    return predict


def class_names(predict: Predict, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a model's classes; numbers, if none are known."""
    return known or tuple(map(str, range(predict(np.zeros((1, 28, 28))).shape[1])))


def missing_temperature(folder: Path) -> float:
    """Say what the probabilities of a run's stored model must still be scaled by: 1 but in a run of an earlier version.

    Parameters
    ----------
    folder : Path
        Of the run; a folder that is none has nothing to scale.
    """
    try:
        config, metrics = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "metrics.json")
        )
        return float(metrics["temperature"]) if config.get("format", 1) < FORMAT else 1.0
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 1.0


def load_keras_model(path: Path) -> Any:
    """Load a ``.keras`` file as the keras.Model that it is, with safe_mode only; calibrated where it belongs to a run.

    Raises
    ------
    ModelError
        If it is damaged, would run code on load, takes or returns another shape than `load_model` allows, or belongs to no
        run and does not scale its input.
    """
    from mnist_utils.training.build import fold_temperature
    from mnist_utils.training.contract import scales_itself

    model = load_keras_file(path)
    _check_shapes(path, getattr(model, "input_shape", None), getattr(model, "output_shape", None))
    if not (path.parent / "config.json").is_file() and not scales_itself(model, trained=True):
        raise ModelError(f"{path} does not scale its input, which has values from 0 to 255; {_fix(path)}")
    if (temperature := missing_temperature(path.parent)) != 1:
        model = fold_temperature(model, temperature)
    return model


def _load_keras(path: Path) -> Predict:
    model = load_keras_model(path)
    from mnist_utils.training.backend import keras

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.asarray(images, np.float32)[..., None]
        return np.asarray(keras.ops.convert_to_numpy(model(batch, training=False)), np.float32)

    return predict


def _check_shapes(path: Path, given: Any, returned: Any) -> None:
    """Compare the shapes of input and output without the batch's; -1 or None stands for any length."""
    takes, returns = (_lengths(shape) for shape in (given, returned))
    if takes != (28, 28, 1) or len(returns) != 1 or (returns[0] or 0) < 2:
        fix = f"; {_fix(path)}" if takes in ((28, 28), (784,)) else ""
        raise ModelError(f"{path} takes {takes} and returns {returns}; wanted (28, 28, 1) and (classes,), two or more{fix}")


def _lengths(shape: Any) -> tuple[int | None, ...]:
    known = isinstance(shape, tuple) and all(side is None or isinstance(side, int | np.integer) for side in shape)
    return tuple(None if side in (None, -1) else int(side) for side in shape[1:]) if known else ()


def _fix(path: Path) -> str:
    if path.suffix == ".keras":
        return f"make a run of it, which does what it lacks: {import_command(path)}"
    return "mnist import takes the .keras file that it was made of, and adds what it lacks"


@dataclass(frozen=True)
class PicturePrediction:
    """What a model predicts for a picture.

    Attributes
    ----------
    seen : PreprocessedImage
        The picture as the model saw it.
    probabilities : float32 array, shape (classes,)
        Calibrated.
    """

    seen: PreprocessedImage
    probabilities: NDArray[np.float32]

    @property
    def label(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())

    @property
    def unlike_digits(self) -> bool:
        """Whether the picture is unlike the digits that the model was trained on, see `unlike_digits`."""
        return unlike_digits(self.probabilities)

    def top(self, k: int = 3) -> list[tuple[int, float]]:
        """Return the `k` most probable labels with their probabilities, the most probable first."""
        return [(int(label), float(self.probabilities[label])) for label in self.probabilities.argsort()[::-1][:k]]


def round_down(probability: float) -> float:
    """Cut a probability off after four decimals: rounded, it would claim a certainty that nobody has."""
    return min(0.9999, math.floor(probability * 10_000) / 10_000)


def unlike_digits(probabilities: NDArray[np.floating]) -> bool:
    """Say whether an image is unlike the digits that a model was trained on: its probability is spread over many.

    Parameters
    ----------
    probabilities : float array, shape (classes,)
        Their perplexity, the exponential of their entropy, says over how many: 1 to `classes`. A model trained with
        ``--augment pictures`` has learnt to spread it where there is no digit; another one does so seldom.
    """
    positive = probabilities[probabilities > 0].astype(np.float64)
    return bool(np.exp(-(positive * np.log(positive)).sum()) > max(_SPREAD, 0.1 * _SPREAD * len(probabilities)))


def predict_picture(picture: Path | bytes, predict: Predict, *, polarity: Polarity = "auto") -> PicturePrediction:
    """Predict which digit a picture shows.

    Parameters
    ----------
    picture : Path or bytes
        See `preprocessing.reader.preprocess`.
    predict : callable
        From `load_model`, or `Run.predict`.
    polarity : {"auto", "dark-on-light", "light-on-dark"}

    Raises
    ------
    ImageError
        If the picture cannot be read or shows no digit.
    """
    seen = preprocess(picture, polarity=polarity)
    return PicturePrediction(seen, predict(seen.image[None])[0])
