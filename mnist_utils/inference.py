"""A run's exported network answers: LiteRT, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError

Predict = Callable[[NDArray[Any]], NDArray[np.float32]]


class ModelError(MnistError):
    """A model file that is missing or cannot be used."""


def load(path: Path) -> Predict:
    """Load a ``.tflite`` network.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    callable
        Takes (n, 28, 28) values from 0 to 255, white on black, n > 0; returns (n, 10) float32
        probabilities. Not safe to call from two threads at once.

    Raises
    ------
    ModelError
        If the file is missing, not a LiteRT network, or takes or returns another shape.
    """
    from ai_edge_litert.interpreter import Interpreter

    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    try:
        with _without_stderr():  # LiteRT tells of its delegate there, and has no switch for it
            interpreter = Interpreter(str(path))
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a LiteRT network: {str(error).splitlines()[0]}") from None
    given, returned = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    shapes = tuple(tuple(map(int, details["shape_signature"][1:])) for details in (given, returned))
    if shapes != ((28, 28, 1), (10,)):
        raise ModelError(f"{path} takes {shapes[0]} and returns {shapes[1]}; wanted (28, 28, 1) and (10,)")

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = np.ascontiguousarray(images, np.float32)[..., None]
        if interpreter.get_input_details()[0]["shape"][0] != len(batch):
            interpreter.resize_tensor_input(given["index"], batch.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(returned["index"]), np.float32)

    return predict


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
