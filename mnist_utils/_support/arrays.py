"""The array types that the packages share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (n, 28, 28) or (28, 28), white on black
Labels = NDArray[np.uint8]  # (n,)
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

TINY = 1e-30  # the least probability whose logarithm is taken


def log_probabilities(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return the logarithms, float64: logits, up to a constant for each image."""
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), TINY)))


def log_losses(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return each image's log loss, in nat: the negative logarithm of its label's probability."""
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], TINY)))


def noise_images(n: int = 8) -> Images:
    """Make images of noise, always the same: what a model returns for them tells what kind of model it is."""
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def are_probabilities(rows: NDArray[Any]) -> bool:
    """Say whether each row is a distribution: no value below 0, a sum of 1, up to what float16 and bfloat16 round off."""
    return bool(np.isfinite(rows).all() and rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=1e-2))
