"""A run's model for other servers: SavedModel, ONNX or LiteRT, in TF-Serving's folders, compared with Keras first."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError, MnistError
from mnist_utils.runs import inference
from mnist_utils.runs.run import Run

Format = Literal["saved_model", "onnx", "litert"]
TOLERANCE = 1e-5  # between Keras's probabilities and the exported model's
_FILES = {"saved_model": "", "onnx": "model.onnx", "litert": "model.tflite"}  # in a version's folder


class ExportError(MnistError):
    """A model that could not be exported, or predicts otherwise than Keras after it."""


def export_model(
    run: Run, kind: Format, output: Path, *, name: str = "mnist", version: int | None = None
) -> tuple[Path, float]:
    """Write a run's model to ``output/name/version/``, where TF-Serving, Triton and KServe look for it.

    The exported model is loaded by its own runtime (TensorFlow, ONNX Runtime, LiteRT) and predicts the embedded
    digits, each also as its negative, and noise. The folder appears only if all predictions are Keras's.

    Parameters
    ----------
    run : Run
        One with a model.
    kind : {"saved_model", "onnx", "litert"}
        A SavedModel is the version's folder itself; the others are ``model.onnx`` or ``model.tflite`` inside it.
    output : Path
        Folder of all exported models; made if it is missing.
    name : str
        What clients ask for: ``/v1/models/<name>:predict``.
    version : int, optional
        Default: one more than the highest there; servers take the highest.

    Returns
    -------
    (Path, float)
        The version's folder, and the largest difference from Keras's probabilities that was found.

    Raises
    ------
    ConfigError
        If the format, the name or the version is not allowed, or the version is there already.
    ExportError
        If the run has no model, or the exported one differs by more than `TOLERANCE`.
    """
    if kind not in _FILES:
        raise ConfigError(f"format: given {kind!r}; allowed: {', '.join(_FILES)}; as a command, also mlflow")
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):
        raise ConfigError(f"name: given {name!r}; allowed: up to 100 letters, digits, '_', '-' and '.', no leading '.'")
    path = run.path / "model.keras"
    if not path.is_file():
        raise ExportError(f"run {run.name} has no model yet ({path} is missing); finish it with the command that started it")
    parent = output / name
    there = [int(folder.name) for folder in parent.glob("[0-9]*") if folder.name.isdigit()]
    version = max(there, default=0) + 1 if version is None else version
    if version < 1 or version in there:
        taken = f"; taken: {', '.join(map(str, sorted(there)))}" if there else ""
        raise ConfigError(f"version: given {version}; allowed: a whole number from 1 that does not exist yet{taken}")
    model, images = inference.load_keras_model(path), _probe_images()
    expected = np.asarray(model.predict(images[..., None], verbose=0))
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".writing-") as temporary:  # servers look at whole numbers only
        folder = Path(temporary, str(version))
        folder.mkdir()
        # TensorFlow and tf2onnx tell of every step, on both streams and as warnings of their own making.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            model.export(folder / _FILES[kind], format="tf_saved_model" if kind == "saved_model" else kind, verbose=False)
        predict = load_exported(kind, folder)
        # One by one and all at once: servers do both.
        found = np.concatenate([predict(images), predict(images[:1]), predict(images[1:2])])
        difference = float(np.abs(found - np.concatenate([expected, expected[:2]])).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"the {kind} model's probabilities differ from Keras's by {difference:.1e}, more than {TOLERANCE:.0e}: "
                "it was not kept"
            )
        folder.rename(parent / str(version))
    return parent / str(version), difference


def load_exported(kind: Format, folder: Path) -> inference.Predict:
    """Load an exported model with the runtime that others will serve it with."""
    if kind == "litert":
        return inference.load_model(folder / _FILES[kind])
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / _FILES[kind], providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: np.asarray(session.run(None, {name: images[..., None]})[0])
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    (name,) = loaded.signatures["serving_default"].structured_input_signature[1]  # what TF-Serving calls

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        (probabilities,) = loaded.signatures["serving_default"](**{name: tf.constant(images[..., None])}).values()
        return np.asarray(probabilities)

    return predict


def _probe_images() -> NDArray[np.float32]:
    from mnist_utils.data.datasets import load_dataset

    digits = load_dataset("digits").x_test
    noise = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    return np.concatenate([digits, 255 - digits, noise]).astype(np.float32)
