"""Prediction sets: as many classes as it takes to contain the true one in, say, 99 of 100 images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mnist_utils.evaluation.statistics import wilson_interval


def conformal_threshold(coverage: float, probabilities: NDArray[Any], labels: ArrayLike) -> float:
    """Find the probability from which on a class belongs to an image's prediction set (split conformal prediction, LAC).

    It is a low quantile of the true labels' probabilities on images that the model was not trained on. For new images that
    are exchangeable with these, the set contains the true class with at least the wanted probability, however bad the model
    is: a bad one has larger sets. This holds on average over images, not for each class, and no longer for images of
    another kind. Where the temperature was fitted on the same images, it holds nearly: one number cannot fit them much.

    Parameters
    ----------
    coverage : float, above 0 to below 1
        Wanted share of sets that contain the true class.
    probabilities : float array, shape (n, classes), n > 0
        Of validation images.
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0 to 1
        For `prediction_sets`. 0, and so all classes, if n is too small: the coverage c needs n >= c / (1 - c), which is 99
        images for 99 %.

    Raises
    ------
    ValueError
        If the coverage is not between 0 and 1.

    References
    ----------
    Vovk, Gammerman, Shafer (2005), Algorithmic learning in a random world: split (inductive) conformal prediction.
    Sadinle, Lei, Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels. JASA 114.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage: given {coverage}; allowed: above 0 to below 1")
    n = len(probabilities)
    needed = math.ceil(round((n + 1) * coverage, 9))  # rounded, as 1 - 0.9 is not quite 0.1; n + 1 is the correction
    of_truth = np.sort(probabilities[np.arange(n), np.asarray(labels)])
    return float(of_truth[n - needed]) if needed <= n else 0.0


def prediction_sets(threshold: float, probabilities: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which classes are in each image's set: those whose probability reaches the threshold.

    If the probabilities are the true ones, no other sets with this coverage have a smaller mean size. For a coverage above
    the model's accuracy, some sets have several classes; below it, some are empty: no class is probable enough.

    Parameters
    ----------
    threshold : float
        From `conformal_threshold`.
    probabilities : float array, shape (n, classes)

    Returns
    -------
    bool array, shape (n, classes)
    """
    return np.asarray(probabilities >= threshold)


@dataclass(frozen=True)
class SetCoverage:
    """Prediction sets of images whose labels are known.

    Attributes
    ----------
    n, covered : int
        Images, and those whose set contains the true class.
    coverage, low, high : float, 0 to 1
        Their share, with Wilson's 95 % interval. The interval is over these images: with other validation images, the
        threshold and so the coverage would be somewhat different.
    mean_size : float
        Classes in a set.
    empty, single, larger : float, 0 to 1
        Share of sets with no class, with one, with more.
    """

    n: int
    covered: int
    coverage: float
    low: float
    high: float
    mean_size: float
    empty: float
    single: float
    larger: float


def evaluate_sets(sets: NDArray[np.bool_], labels: ArrayLike) -> SetCoverage:
    """Count how many sets contain the true class, and how large they are.

    Parameters
    ----------
    sets : bool array, shape (n, classes), n > 0
        From `prediction_sets`.
    labels : integer array, shape (n,)
    """
    n, sizes = len(sets), sets.sum(axis=1)
    covered = int(sets[np.arange(n), np.asarray(labels)].sum())
    shares = (float(of.mean()) for of in (sizes == 0, sizes == 1, sizes > 1))
    return SetCoverage(n, covered, covered / n, *wilson_interval(covered, n), float(sizes.mean()), *shares)


def coverage_table(
    levels: Sequence[float],
    validation: tuple[NDArray[Any], ArrayLike],
    test: tuple[NDArray[Any], ArrayLike],
) -> pd.DataFrame:
    """Evaluate prediction sets at several nominal coverages.

    Parameters
    ----------
    levels : sequence of float, above 0 to below 1
        Nominal coverages.
    validation, test : (float array of shape (n, classes), integer array of shape (n,))
        Probabilities and labels: the thresholds are from the first, what is measured from the second.

    Returns
    -------
    DataFrame
        A row per level; columns nominal, threshold, and those of `SetCoverage`.
    """
    rows = []
    for level in levels:
        threshold = conformal_threshold(level, *validation)
        found = evaluate_sets(prediction_sets(threshold, test[0]), test[1])
        rows.append({"nominal": level, "threshold": threshold} | asdict(found))
    return pd.DataFrame(rows)
