"""Metrics of a model's probabilities, given the true labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils.evaluation.calibration import expected_calibration_error
from mnist_utils.evaluation.statistics import wilson_interval


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 (0 to 1) of one class, and the number of its images."""

    label: int
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Metrics:
    """The metrics of `n` images, from `compute_metrics`.

    Attributes
    ----------
    accuracy : float
        Share of correct predictions, 0 to 1.
    accuracy_interval : (float, float)
        Wilson's 95 % interval for it.
    log_loss : float
        Mean negative natural logarithm of the true label's probability.
    expected_calibration_error : float
        See `expected_calibration_error`.
    per_class : list of ClassMetrics
    confusion_matrix : list of list of int
        Row: true label, column: prediction.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    log_loss: float
    expected_calibration_error: float
    per_class: list[ClassMetrics]
    confusion_matrix: list[list[int]]


def compute_metrics(probabilities: NDArray[Any], labels: NDArray[Any]) -> Metrics:
    """Compute the metrics that every run records.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), rows sum to 1
    labels : integer array, shape (n,), values from 0 to below `classes`

    Raises
    ------
    ValueError
        If the shapes do not match or there are no images.
    """
    from sklearn import metrics  # heavy, and not needed to import this module

    if probabilities.ndim != 2 or len(probabilities) != len(labels) or len(labels) == 0:
        raise ValueError(f"probabilities: given {probabilities.shape} for {len(labels)} labels; allowed: (n > 0, classes)")
    classes = np.arange(probabilities.shape[1])
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 rows sum to one only approximately
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    table = metrics.precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return Metrics(
        n=len(labels),
        accuracy=correct / len(labels),
        accuracy_interval=wilson_interval(correct, len(labels)),
        log_loss=float(metrics.log_loss(labels, probabilities, labels=classes)),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        per_class=[
            ClassMetrics(i, float(p), float(r), float(f), int(n)) for i, (p, r, f, n) in enumerate(zip(*table, strict=True))
        ],
        confusion_matrix=metrics.confusion_matrix(labels, predicted, labels=classes).tolist(),
    )


def metrics_from_dict(content: dict[str, Any]) -> Metrics:
    """Restore `Metrics` from `dataclasses.asdict`, also after a round trip through JSON."""
    low, high = content["accuracy_interval"]
    per_class = [ClassMetrics(**row) for row in content["per_class"]]
    return Metrics(**content | {"accuracy_interval": (low, high), "per_class": per_class})


def edit_distance(one: str, other: str) -> int:
    """Count the digits to insert, delete or replace that turn one number into the other (Levenshtein 1966)."""
    row: NDArray[np.int64] = np.arange(len(other) + 1)
    for at, letter in enumerate(one, 1):
        before, row = row, np.full(len(other) + 1, at)
        for place, wanted in enumerate(other, 1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (letter != wanted))
    return int(row[-1])
