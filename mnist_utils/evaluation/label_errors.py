"""Are the labels right? Those that a network which never saw them doubts most, and those that people judged wrong."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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

# The labels of MNIST's test set that fewer than three of five people confirmed, shown the pictures that confident learning
# had picked: the digit that three or more saw instead, or None where they did not agree on one (or saw none).
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
    """Correct the labels of MNIST's test set as people did.

    Parameters
    ----------
    labels : uint8 array, shape (10000,)
        As published.

    Returns
    -------
    corrected : uint8 array, shape (10000,)
    agreed : bool array, shape (10000,)
        False for the images on which people did not agree: to be left out.
    """
    better, agreed = labels.copy(), np.ones(len(labels), bool)
    for i, digit in MNIST_LABEL_ERRORS.items():
        agreed[i] = digit is not None
        better[i] = labels[i] if digit is None else digit
    return better, agreed


def cross_validated_probabilities(
    config: TrainConfig, dataset: Dataset, folds: int = 3, *, progress: bool = True
) -> NDArray[np.float32]:
    """Ask networks about the training images, each about those that it was not trained on.

    Parameters
    ----------
    config : TrainConfig
        Recipe and seed of the networks.
    dataset : Dataset
        Its training images are dealt out to the folds, stratified; its validation images serve each training as usual.
    folds : int
        Networks to train, each on all folds but one; two at least.
    progress : bool
        Show a line for each training.

    Returns
    -------
    float32 array, shape (training images, 10)
        Probabilities.

    Raises
    ------
    ConfigError
        If there are fewer than two folds.
    """
    if folds < 2:
        raise ConfigError(f"folds: given {folds}; allowed: 2 and more")
    from sklearn.model_selection import StratifiedKFold

    from mnist_utils.training import fit

    x, y = dataset.x_train, dataset.y_train
    found = np.empty((len(x), 10), np.float32)
    splits = StratifiedKFold(folds, shuffle=True, random_state=config.seed).split(x, y)
    with progress_display(folds, enabled=progress) as show:
        for fold, (rest, held) in enumerate(splits, start=1):
            show(fold - 1, f"fold {fold} of {folds}")
            with tempfile.TemporaryDirectory() as folder:
                part = replace(dataset, x_train=x[rest], y_train=y[rest])
                model = fit.train(config, part, Path(folder), progress=False).model
            found[held] = fit.predict_probabilities(model, x[held])
            right = (found[held].argmax(axis=1) == y[held]).mean()
            show(fold, line=f"fold {fold} of {folds}: {right:.2%} of {len(held):,} images right")
    return found


@dataclass(frozen=True)
class SuspectedLabels:
    """Labels, the most doubtful first.

    Attributes
    ----------
    order : integer array, shape (n,)
        All images, from the most to the least doubtful label.
    quality : float array, shape (n,)
        For each image (not in that order) the probability that the network gives to its label.
    suspects : int
        How many confident learning holds to be wrong; they need not be the first of `order`.
    """

    order: NDArray[np.intp]
    quality: NDArray[np.float64]
    suspects: int


def find_suspected_labels(probabilities: NDArray[Any], labels: NDArray[Any]) -> SuspectedLabels:
    """Rank labels by how doubtful they are in the eyes of a network that was not trained on them.

    Parameters
    ----------
    probabilities : float array, shape (n, 10), rows sum to 1
        Out of sample: for images that the network was not trained on.
    labels : integer array, shape (n,), values 0 to 9, each occurring

    References
    ----------
    Northcutt, Jiang, Chuang (2021), Confident learning: estimating uncertainty in dataset labels. JAIR 70.
    """
    with warnings.catch_warnings(action="ignore"):  # its progress bar, which is not shown, asks for a widget in notebooks
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

    given = labels.astype(int)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # float32 sums to one only nearly
    quality = np.asarray(get_label_quality_scores(given, exact, method="self_confidence"))
    suspects = find_label_issues(given, exact, filter_by="confident_learning", n_jobs=1)
    return SuspectedLabels(np.argsort(quality, kind="stable"), quality, int(np.sum(suspects)))


def recall_at_k(order: NDArray[np.intp], known: Collection[int], tops: Collection[int]) -> pd.DataFrame:
    """Say how many of the known ones a ranking has at its top, and how many a ranking by lot would have.

    Parameters
    ----------
    order : integer array, shape (n,)
        Indices, the most doubtful first.
    known : collection of int
        The indices that ought to be at the top.
    tops : collection of int
        How many of the first to look at, each a row.

    Returns
    -------
    DataFrame
        Columns top, found, of, by_chance (expected), p_value (of finding as many by lot: the hypergeometric distribution's).
    """
    from scipy.stats import hypergeom

    hits = np.cumsum(np.isin(order, list(known)))
    tops = [min(top, len(order)) for top in tops]
    found = [int(hits[top - 1]) for top in tops]
    return pd.DataFrame(
        {
            "top": tops,
            "found": found,
            "of": len(known),
            "by_chance": [len(known) * top / len(order) for top in tops],
            "p_value": [
                float(hypergeom(len(order), len(known), top).sf(hits_ - 1)) for top, hits_ in zip(tops, found, strict=True)
            ],
        }
    )
