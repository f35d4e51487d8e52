"""Robustness: a model's accuracy on corrupted images and on other data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Images, Labels
from mnist_utils._support.own_function import OwnFunction
from mnist_utils.data.corruptions import MNIST_C, OTHERS, corrupt
from mnist_utils.data.datasets import Dataset
from mnist_utils.data.graded_corruptions import GRADED, SEVERITIES, corrupt_graded
from mnist_utils.data.own_change import change_images
from mnist_utils.evaluation.statistics import accuracy_interval, holm_correction, mcnemar_test, wilson_interval

CLEAN = "clean"
_SAMPLES = 6


@dataclass(frozen=True)
class Robustness:
    """The result of `measure_robustness`.

    Attributes
    ----------
    table : DataFrame
        A row for each corruption or data set (index: its name; the first is ``clean``); columns: group (clean, MNIST-C,
        ours, yours or other data), n, accuracy, low, high (Wilson's 95 % interval), confidence (mean, 0 to 1: above the
        accuracy, the model is too sure of itself there), difference (accuracy minus that on the clean images, -1 to 1),
        p_value (of McNemar's exact test for no difference, with Holm's correction for the table). The last two are NaN
        for ``clean`` and for other data, whose images differ.
    mean, mean_interval : float, (float, float)
        Mean accuracy over the fifteen corruptions of MNIST-C, 0 to 1, with Student's 95 % interval over test images: an
        image's value is the share of its fifteen versions that are predicted correctly. The interval is NaN for a single
        image, and if all images have the same value.
    worst : str
        The corruption of MNIST-C with the lowest accuracy.
    samples : uint8 array, shape (rows of the table, 6, 28, 28), or fewer than 6 images
        The first images of each row, as the model received them.
    seed : int
        Of the corruptions.
    """

    table: pd.DataFrame
    mean: float
    mean_interval: tuple[float, float]
    worst: str
    samples: Images
    seed: int = 0

    @property
    def worst_accuracy(self) -> float:
        """Accuracy, 0 to 1, on the worst corruption."""
        return float(self.table["accuracy"].to_dict()[self.worst])


def measure_robustness(
    predict: Callable[[Images], NDArray[Any]],
    x: Images,
    y: Labels,
    *,
    others: tuple[Dataset, ...] = (),
    own: tuple[OwnFunction, ...] = (),
    seed: int = 0,
    done: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Evaluate a model on images, on the same images with each of the `corruptions`, and on other data sets.

    Parameters
    ----------
    predict : callable
        From uint8 images of shape (n, 28, 28), white on black, to their probabilities, shape (n, classes).
    x : uint8 array, shape (n, 28, 28), n > 0
    y : integer array, shape (n,)
    others : tuple of Dataset
        Data sets whose test images are used unchanged: digits that other people wrote and scanned.
    own : tuple of OwnFunction
        Your own corruptions, see `data.own_change.change_images`.
    seed : int
        Of the corruptions.
    done : callable, optional
        Called after each step with its number, from 1, and the number of steps.
    """
    yours = {one.name: one for one in own}
    taken = {CLEAN, *MNIST_C, *OTHERS, *(other.name for other in others)}
    if len(yours) < len(own) or taken & set(yours):
        twice = next(iter(taken & set(yours)), own[0].name)
        raise ConfigError(f"corruption: two are called {twice}; allowed: a function of another name")
    names = (CLEAN, *MNIST_C, *OTHERS, *yours)
    correct: dict[str, NDArray[np.bool_]] = {}
    confidence: dict[str, float] = {}
    samples, shown = [], min(_SAMPLES, len(x), *(len(other.x_test) for other in others))
    evaluated = [(name, x, y) for name in names] + [(other.name, other.x_test, other.y_test) for other in others]
    for step, (name, images, labels) in enumerate(evaluated, start=1):
        changed = corrupt(images, name, seed) if name in MNIST_C | OTHERS else images
        if name in yours:
            changed = change_images(images, yours[name], np.random.default_rng(seed), option="corruption")
        samples.append(changed[:shown].copy())  # a view would keep all images in memory
        probabilities = predict(changed)
        correct[name] = probabilities.argmax(axis=1) == labels
        confidence[name] = float(probabilities.max(axis=1).mean())
        if done:
            done(step, len(evaluated))
    groups = (
        {CLEAN: CLEAN} | dict.fromkeys(MNIST_C, "MNIST-C") | dict.fromkeys(OTHERS, "ours") | dict.fromkeys(yours, "yours")
    )
    rows = [
        _robustness_row(
            name, groups.get(name, "other data"), hits, confidence[name], correct[CLEAN] if name in names else None
        )
        for name, hits in correct.items()
    ]
    table = pd.DataFrame(rows).set_index("change")
    compared = table["p_value"].notna()
    table.loc[compared, "p_value"] = holm_correction(table.loc[compared, "p_value"])
    mean, low, high = accuracy_interval(np.mean([correct[name] for name in MNIST_C], axis=0))
    worst = str(table.loc[list(MNIST_C), "accuracy"].idxmin())
    return Robustness(table, mean, (low, high), worst, np.stack(samples), seed)


def _robustness_row(
    name: str, group: str, correct: NDArray[np.bool_], confidence: float, clean: NDArray[np.bool_] | None
) -> dict[str, Any]:
    low, high = wilson_interval(int(correct.sum()), len(correct))
    row = {"change": name, "group": group, "n": len(correct), "accuracy": correct.mean(), "low": low, "high": high}
    row["confidence"] = confidence
    if clean is None or name == CLEAN:
        return row | {"difference": np.nan, "p_value": np.nan}
    found = mcnemar_test(clean, correct)
    return row | {"difference": found.difference, "p_value": found.p_value}


def measure_severities(predict: Callable[[Images], NDArray[Any]], x: Images, y: Labels, *, seed: int = 0) -> pd.DataFrame:
    """Evaluate a model on the graded corruptions, which are none of MNIST-C's fifteen: choose on these.

    Parameters
    ----------
    predict, x, y, seed
        See `measure_robustness`.

    Returns
    -------
    DataFrame
        A row for each corruption and severity, 0 (clean) to 5: change, severity, n, accuracy, low, high (Wilson's 95 %
        interval), confidence (mean).
    """
    clean = _severity_row(predict(x), y)
    rows: list[dict[str, Any]] = []
    for name in GRADED:
        rows.append({"change": name, "severity": 0} | clean)
        for severity in SEVERITIES:
            found = _severity_row(predict(corrupt_graded(x, name, severity, seed)), y)
            rows.append({"change": name, "severity": severity} | found)
    return pd.DataFrame(rows)


def _severity_row(probabilities: NDArray[Any], y: Labels) -> dict[str, float]:
    correct = int((probabilities.argmax(axis=1) == y).sum())
    low, high = wilson_interval(correct, len(y))
    confidence = float(probabilities.max(axis=1).mean())
    return {"n": len(y), "accuracy": correct / len(y), "low": low, "high": high, "confidence": confidence}


def relative_corruption_error(accuracy: pd.Series, baseline: pd.Series) -> float:
    """Return the mean corruption error (mCE) of a model relative to a baseline.

    Each corruption's error is divided by the baseline's, then averaged: an easy corruption counts as much as a hard one.

    Parameters
    ----------
    accuracy, baseline : Series
        Accuracies, 0 to 1, of both, with the same corruptions as index. Corruptions on which the baseline makes no error
        are left out, as their ratio is not defined.

    Returns
    -------
    float
        1 for a model as good as the baseline, 0 for one without errors; NaN if the baseline makes no error at all.

    References
    ----------
    Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations. ICLR.
    """
    possible = 1 - baseline.loc[accuracy.index]
    return float(((1 - accuracy) / possible)[possible > 0].mean())
