"""What tones do to a model: its accuracy over contrasts, and which class an empty sheet falls into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images, Labels, log_probabilities
from mnist_utils.data.classes import class_index
from mnist_utils.data.inversion import PreprocessedImages, set_contrast
from mnist_utils.evaluation.statistics import wilson_interval

Predict = Callable[[Images], NDArray[Any]]


def measure_contrasts(
    predict: Predict,
    x: Images,
    y: Labels,
    contrasts: Sequence[float] | NDArray[np.float64],
    *,
    read: Callable[[Images], PreprocessedImages] | None = None,
) -> pd.DataFrame:
    """Evaluate a model on the same images at several contrasts, see `data.inversion.set_contrast`.

    Parameters
    ----------
    predict : callable
        From uint8 images of shape (n, 28, 28) to their probabilities, shape (n, classes).
    x : uint8 array, shape (n, 28, 28), white on black, n > 0
    y : integer array, shape (n,)
    contrasts : sequence of float, -1 to 1
    read : callable, optional
        What the images go through before the model, as `data.inversion.preprocess_images`. A refused image counts as
        incorrect.

    Returns
    -------
    DataFrame
        A row for each contrast; columns contrast, accuracy, low, high (Wilson's 95 % interval) and confidence (mean, 0 to 1;
        of the images that were not refused, so NaN where all were).
    """
    rows = []
    for contrast in contrasts:
        changed, accepted = set_contrast(x, contrast), np.ones(len(x), bool)
        if read:
            found = read(changed)
            changed, accepted = found.images, ~found.refused
        probabilities = predict(changed)
        correct = int(((probabilities.argmax(axis=1) == y) & accepted).sum())
        low, high = wilson_interval(correct, len(x))
        confidence = float(probabilities[accepted].max(axis=1).mean()) if accepted.any() else np.nan
        rows.append({"contrast": contrast, "accuracy": correct / len(x), "low": low, "high": high, "confidence": confidence})
    return pd.DataFrame(rows)


def paper_logits(predict: Predict, inverted: Images, classes: Sequence[str]) -> pd.DataFrame:
    """Compare the logits of an empty white sheet with the mean logits of inverted images.

    Parameters
    ----------
    predict : callable
        See `measure_contrasts`.
    inverted : uint8 array, shape (n, 28, 28), black on white, n > 0
    classes : sequence of str
        The classes' names.

    Returns
    -------
    DataFrame
        A row for each class (index: see `data.classes.class_index`); columns ``empty white sheet`` and
        ``mean of the inverted images``: logits whose mean over the classes is 0, in nat.
    """
    white = np.full((1, *inverted.shape[1:]), 255, np.uint8)
    return pd.DataFrame(
        {
            "empty white sheet": centred_logits(predict(white))[0],
            "mean of the inverted images": centred_logits(predict(inverted)).mean(axis=0),
        },
        index=class_index(classes, len(classes)),
    )


def centred_logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return logits whose softmax are these probabilities, and whose mean over the classes is 0, in nat.

    A softmax is the same after a constant is added to all logits, so only their differences are known.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    """
    logits = log_probabilities(probabilities)
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))
