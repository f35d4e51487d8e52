"""A run's network answers: LiteRT, without TensorFlow; a ``.keras`` file as well, for those who have nothing else."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError
from mnist_utils.evaluation.calibration import apply_temperature
from mnist_utils.preprocessing.decode import Polarity
from mnist_utils.preprocessing.reader import PreprocessedImage, preprocess
from mnist_utils.runs.run import run_of_model

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


class ModelError(MnistError):
    """A model file that is missing or cannot be used."""


def load_model(path: Path) -> Predict:
    """Load a network.

    Parameters
    ----------
    path : Path
        A ``.tflite`` file, or a ``.keras`` file, which takes the seconds that importing Keras takes.

    Returns
    -------
    callable
        Takes (n, 28, 28) values from 0 to 255, white on black, n > 0; returns (n, 10) float32
        probabilities. Not safe to call from two threads at once.

    Raises
    ------
    ModelError
        If the file is missing, not such a network, would run code on load, or takes or returns another shape.
    """
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    if path.suffix == ".keras":
        return _load_keras_predict(path)
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _without_stderr():  # LiteRT tells of its delegate there, and has no switch for it
            interpreter = Interpreter(str(path))
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a LiteRT network: {str(error).splitlines()[0]}") from None
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _check_shapes(path, given["shape_signature"], returned["shape_signature"])

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(images, np.float32)[..., None]
        if interpreter.get_input_details()[0]["shape"][0] != len(batch):
            interpreter.resize_tensor_input(given["index"], batch.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(returned["index"]), np.float32)

    return predict


def temperature_of(path: Path) -> float:
    """Return the temperature that calibrates a network, fitted on its run's validation images; 1 if it belongs to no run."""
    run = run_of_model(path)
    return run.temperature if run else 1.0


def load_calibrated(path: Path) -> Predict:
    """Load a network as `load_model` does; its probabilities are calibrated with the temperature of its run, if it has one.

    See `evaluation.calibration.apply_temperature`.
    """
    network, temperature = load_model(path), temperature_of(path)

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        return apply_temperature(network(images), temperature).astype(np.float32)

    return predict


@dataclass(frozen=True)
class PicturePrediction:
    """What a network says to a picture.

    Attributes
    ----------
    reading : Reading
        The picture as the network saw it.
    softmax : float32 array, shape (10,)
        Probabilities as the network gives them.
    probabilities : float32 array, shape (10,)
        The same, calibrated.
    """

    reading: PreprocessedImage
    softmax: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def confidence(self) -> float:
        """How often such an answer is right, 0 to below 1, for pictures like those that the network was tested on."""
        return round_down(float(self.probabilities.max()))

    def top(self, k: int = 3) -> list[tuple[int, float]]:
        """Return the `k` most probable digits with their probabilities, the most probable first."""
        return [(int(digit), float(self.probabilities[digit])) for digit in self.probabilities.argsort()[::-1][:k]]


def round_down(probability: float) -> float:
    """Cut a probability off after four decimals: rounded, it would claim a certainty that nobody has."""
    return min(0.9999, math.floor(probability * 10_000) / 10_000)


def predict_picture(
    picture: Path | bytes, network: Predict, *, temperature: float = 1.0, polarity: Polarity = "auto"
) -> PicturePrediction:
    """Read a picture and ask a network which digit it shows.

    Parameters
    ----------
    picture : Path or bytes
        See `preprocessing.reader.preprocess`.
    network : callable
        From `load_model`.
    temperature : float
        See `temperature_of`.
    polarity : {"auto", "dark-on-light", "light-on-dark"}

    Raises
    ------
    ImageError
        If the picture cannot be read or shows no digit.
    """
    reading = preprocess(picture, polarity=polarity)
    softmax = network(reading.image[None])
    return PicturePrediction(reading, softmax[0], apply_temperature(softmax, temperature)[0].astype(np.float32))


def predict_batches(network: Predict, images: NDArray[Any], *, batch: int = 500) -> NDArray[np.float32]:
    """Ask a network about any number of images, `batch` at a time, which bounds the memory.

    Parameters
    ----------
    network : callable
        From `load_model`.
    images : array, shape (n, 28, 28), values 0 to 255, white on black; n > 0

    Returns
    -------
    float32 array, shape (n, 10)
    """
    return np.concatenate([network(images[start : start + batch]) for start in range(0, len(images), batch)])


def load_keras_model(path: Path) -> Any:
    """Load a ``.keras`` file as the keras.Model that it is, with safe_mode only.

    Raises
    ------
    ModelError
        If it is damaged, would run code on load, or takes or returns another shape than `load_model` allows.
    """
    from mnist_utils.training.backend import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path} cannot be loaded with safe_mode, which refuses code in a file: {reason}") from None
    _check_shapes(path, model.input_shape, model.output_shape)
    return model


def _load_keras_predict(path: Path) -> Predict:
    model = load_keras_model(path)
    from mnist_utils.training.backend import keras

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.asarray(images, np.float32)[..., None]
        return np.asarray(keras.ops.convert_to_numpy(model(batch, training=False)), np.float32)

    return predict


def _check_shapes(path: Path, given: Any, returned: Any) -> None:
    """Compare the shapes of input and output without the batch's."""
    shapes = tuple(tuple(int(side) for side in shape[1:]) for shape in (given, returned))
    if shapes != ((28, 28, 1), (10,)):
        raise ModelError(f"{path} takes {shapes[0]} and returns {shapes[1]}; wanted (28, 28, 1) and (10,)")


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Silence what C++ writes to file descriptor 2; Python's exceptions are not touched."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: silent already
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
