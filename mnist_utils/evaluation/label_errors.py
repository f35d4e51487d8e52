"""Label errors: labels that a model not trained on them doubts, and labels that people judged incorrect."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Labels
from mnist_utils._support.progress import progress_display
from mnist_utils.data.datasets import Dataset
from mnist_utils.training.config import TrainConfig

# The labels of MNIST's test set that fewer than three of five people confirmed, among the images that confident learning
# had selected: the digit that three or more people saw instead, or None if they did not agree on one (or saw none).
# Northcutt, Athalye, Mueller (2021), Pervasive label errors in test sets destabilize machine learning benchmarks. NeurIPS.
MNIST_LABEL_ERRORS: Mapping[int, int | None] = MappingProxyType(
    {
        947: 9,
        1621: 6,
        1901: 4,
        2130: None,
        2462: 0,
        2597: 3,
        2654: None,
        3520: None,
        3558: 0,
        5937: 3,
        6651: 6,
        6783: 6,
        8527: None,
        9679: None,
        9729: 6,
    }
)


def correct_labels(labels: Labels) -> tuple[Labels, NDArray[np.bool_]]:
    """Correct the labels of MNIST's test set as people judged them.

    Parameters
    ----------
    labels : uint8 array, shape (10000,)
        As published.

    Returns
    -------
    corrected : uint8 array, shape (10000,)
    agreed : bool array, shape (10000,)
        False for images on which people did not agree; leave these out.
    """
    better, agreed = labels.copy(), np.ones(len(labels), bool)
    for i, digit in MNIST_LABEL_ERRORS.items():
        agreed[i] = digit is not None
        better[i] = labels[i] if digit is None else digit
    return better, agreed


def cross_validated_probabilities(
    config: TrainConfig, dataset: Dataset, folds: int = 3, *, progress: bool = True
) -> NDArray[np.float32]:
    """Predict the training images by cross-validation: each with a model that was not trained on it.

    Parameters
    ----------
    config : TrainConfig
        Recipe and seed of the models.
    dataset : Dataset
        Its training images are split into folds, stratified; each training uses its validation images as usual.
    folds : int
        Models to train, each on all folds but one; at least two.
    progress : bool
        Show a line for each training.

    Returns
    -------
    float32 array, shape (training images, classes)
        Probabilities.

    Raises
    ------
    ConfigError
        If there are fewer than two folds.
    """
    if folds < 2:
        raise ConfigError(f"folds: given {folds}; allowed: 2 or more")
    from sklearn.model_selection import StratifiedKFold

    from mnist_utils.training import fit

    x, y = dataset.x_train, dataset.y_train
    found = np.empty((len(x), len(dataset.classes)), np.float32)
    splits = StratifiedKFold(folds, shuffle=True, random_state=config.seed).split(x, y)
    with progress_display(folds, enabled=progress) as show:
        for fold, (rest, held) in enumerate(splits, start=1):
            show(fold - 1, f"fold {fold} of {folds}")
            with tempfile.TemporaryDirectory() as folder:
                part = replace(dataset, x_train=x[rest], y_train=y[rest])
                model = fit.train(config, part, Path(folder), progress=False).model
            found[held] = fit.predict_probabilities(model, x[held])
            accuracy = (found[held].argmax(axis=1) == y[held]).mean()
            show(fold, line=f"fold {fold} of {folds}: {accuracy:.2%} of {len(held):,} images correct")
    return found


def rank_doubtful_labels(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Rank labels by how little a model that was not trained on them supports them.

    It gives no number of incorrect labels: what confident learning counts depends on the model's temperature. Of the
    committed run `reference` it is 23, 11 or none of the test labels with temperatures of 0.2, 0.55 and 1, while the first
    15 of the ranking are the same.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), rows sum to 1
        Out of sample: for images that the model was not trained on.
    labels : integer array, shape (n,), values 0 to classes - 1

    Returns
    -------
    integer array, shape (n,)
        Indices of all images, by their label's probability, the lowest first.

    References
    ----------
    Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in dataset labels. JAIR 70.
    """
    with warnings.catch_warnings(action="ignore"):  # in notebooks, its unused progress bar warns of a missing widget
        from cleanlab.rank import get_label_quality_scores

    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # float32 rows sum to one only approximately
    quality = get_label_quality_scores(labels.astype(int), exact, method="self_confidence")
    return np.argsort(np.asarray(quality), kind="stable")


def recall_at_k(order: NDArray[np.intp], known: Collection[int], tops: Collection[int]) -> pd.DataFrame:
    """Count how many known errors a ranking has at its top, and how many a random ranking would have.

    Parameters
    ----------
    order : integer array, shape (n,)
        Indices, the most doubtful first.
    known : collection of int
        The indices that should be at the top.
    tops : collection of int
        Numbers of first indices to count in, one per row.

    Returns
    -------
    DataFrame
        Columns top, found, of, by_chance (expected for a random order).
    """
    hits = np.cumsum(np.isin(order, list(known)))
    tops = [min(top, len(order)) for top in tops]
    return pd.DataFrame(
        {
            "top": tops,
            "found": [int(hits[top - 1]) for top in tops],
            "of": len(known),
            "by_chance": [len(known) * top / len(order) for top in tops],
        }
    )
