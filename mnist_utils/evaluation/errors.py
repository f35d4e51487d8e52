"""Tables of a model's errors, and selective prediction from its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mnist_utils.data.classes import class_index, class_word
from mnist_utils.evaluation.statistics import wilson_interval

# --- digits -----------------------------------------------------------------------------------------------


def per_class_table(matrix: ArrayLike, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Compute precision, recall and F1 of each class, with 95 % intervals.

    Precision and recall are shares of images, so they have Wilson's interval. F1 is not, but F* = TP / (TP + FP + FN) is:
    the share of correct ones among the images that show the digit or are predicted as it. F1 = 2 F* / (1 + F*) is a
    monotonic function of F*.

    Parameters
    ----------
    matrix : integer array, shape (classes, classes)
        Row: true label, column: prediction.
    classes : sequence of str
        The classes' names; none for the ten digits.

    Returns
    -------
    DataFrame
        A row per class; columns n, and precision, recall, f1, each with _low and _high; 0 to 1, NaN if undefined.

    References
    ----------
    Hand, Christen, Kirielle (2021), F*: an interpretable transformation of the F-measure. Machine Learning 110.
    """
    counts = np.asarray(matrix)
    correct, shown, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    columns: dict[str, Any] = {"n": shown}
    for name, total in ("precision", predicted), ("recall", shown), ("f1", shown + predicted - correct):
        rows = [
            (hits / n, *wilson_interval(int(hits), int(n))) if n else (np.nan,) * 3
            for hits, n in zip(correct, total, strict=True)
        ]
        shares = np.array(rows, np.float64).T
        if name == "f1":
            shares = 2 * shares / (1 + shares)
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), shares, strict=True))
    return pd.DataFrame(columns, index=class_index(classes, len(counts)))


def confused_pairs(matrix: ArrayLike, top: int = 10, classes: Sequence[str] = ()) -> pd.DataFrame:
    """List the most frequent errors.

    Parameters
    ----------
    matrix : integer array, shape (classes, classes)
        Row: true label, column: prediction.
    top : int
        Rows at most.
    classes : sequence of str
        The classes' names; none for the ten digits.

    Returns
    -------
    DataFrame
        Columns digit (or class), prediction, images, share (of all errors, 0 to 1); the most frequent first.
    """
    errors = np.array(matrix)
    np.fill_diagonal(errors, 0)
    digits, predicted = np.nonzero(errors)
    images = errors[digits, predicted]
    word = class_word(classes)
    pairs = pd.DataFrame({word: digits, "prediction": predicted, "images": images, "share": images / max(errors.sum(), 1)})
    pairs = pairs.sort_values(["images", word, "prediction"], ascending=[False, True, True], ignore_index=True).head(top)
    if word == "class":
        pairs = pairs.assign(**{column: [classes[label] for label in pairs[column]] for column in (word, "prediction")})
    return pairs


def recall_homogeneity_test(matrix: ArrayLike) -> float:
    """Test whether the digits' recalls differ by more than chance.

    Comparing the intervals of the best and the worst of ten digits would find a difference too often.

    Parameters
    ----------
    matrix : integer array, shape (classes, classes)
        Row: true label, column: prediction.

    Returns
    -------
    float
        The p-value of Pearson's chi-squared test of homogeneity; 1 if all or no predictions are correct.
    """
    from scipy.stats import chi2_contingency

    counts = np.asarray(matrix)
    table = np.stack([counts.diagonal(), counts.sum(axis=1) - counts.diagonal()])
    table = table[:, table.any(axis=0)]  # without digits that do not occur
    return float(chi2_contingency(table).pvalue) if table.any(axis=1).all() else 1.0


# --- confidence -------------------------------------------------------------------------------------------


def risk_coverage(probabilities: NDArray[Any], labels: ArrayLike) -> pd.DataFrame:
    """Compute the risk-coverage curve of selective prediction: the least confident images are deferred to a person.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)

    Returns
    -------
    DataFrame
        For each confidence that occurs, from high to low: threshold, predicted (images with at least this confidence),
        coverage (their share of all, 0 to 1), errors (among them), risk (the share of errors among them, 0 to 1).

    References
    ----------
    El-Yaniv and Wiener (2010), On the foundations of noise-free selective classification. JMLR 11.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum((probabilities.argmax(axis=1) != np.asarray(labels))[order])
    ordered = confidence[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # images of equal confidence are predicted together
    predicted = last + 1
    return pd.DataFrame(
        {
            "threshold": ordered[last].astype(np.float64),
            "predicted": predicted,
            "coverage": predicted / len(ordered),
            "errors": errors[last],
            "risk": errors[last] / predicted,
        }
    )


def risk_coverage_area(probabilities: NDArray[Any], labels: ArrayLike) -> tuple[float, float]:
    """Return the area under the risk-coverage curve (AURC), and its excess over that of the best order (E-AURC).

    The area is the mean risk over all coverages. It is low if there are few errors, or if they come last. The best order has
    every error after every correct prediction, so the excess tells how well the confidence ranks, whatever the accuracy.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)

    Returns
    -------
    area, excess : float, 0 to 1
        Of images of equal confidence, the mean over their orders.

    References
    ----------
    Geifman, Uziel, El-Yaniv (2019), Bias-reduced uncertainty estimation for deep neural classifiers. ICLR.
    """
    curve = risk_coverage(probabilities, labels)
    n, errors = int(curve["predicted"].iloc[-1]), int(curve["errors"].iloc[-1])
    predicted = np.arange(1, n + 1)
    found = np.interp(predicted, np.append(0, curve["predicted"]), np.append(0, curve["errors"]))
    area, least = (float((some / predicted).mean()) for some in (found, np.maximum(0, predicted - (n - errors))))
    return area, area - least


def threshold_for_accuracy(accuracy: float, probabilities: NDArray[Any], labels: ArrayLike) -> float:
    """Find the lowest confidence threshold that reaches an accuracy on new images, as far as these can tell.

    The threshold at which these images reach it would miss it on new ones in about half of all cases. This is the lowest one
    at which a 95 % bound for the accuracy (Clopper and Pearson's, one-sided) reaches it: that misses it in 5 of 100 cases or
    fewer. It costs predictions: with n images and no error among them, 1 - 3 / n is the highest accuracy that can be shown.

    Parameters
    ----------
    accuracy : float, 0 to 1
        Wanted share of correct predictions among those made.
    probabilities : float array, shape (n, classes), n > 0
        Of validation images. Evaluate the threshold on others, with `selective_accuracy`.
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0 to 1; infinite if no threshold can be shown to reach the accuracy

    References
    ----------
    Geifman and El-Yaniv (2017), Selective classification for deep neural networks. NeurIPS.
    """
    from scipy.stats import beta

    curve = risk_coverage(probabilities, labels)
    correct = curve["predicted"] - curve["errors"]
    lowest = np.where(correct > 0, beta.ppf(0.05, np.maximum(correct, 1), curve["errors"] + 1), 0.0)
    enough = curve[lowest >= accuracy]
    return float(enough["threshold"].iloc[-1]) if len(enough) else np.inf


@dataclass(frozen=True)
class SelectivePrediction:
    """The result of selective prediction with a threshold; the other images are deferred to a person.

    Attributes
    ----------
    n : int
        All images.
    predicted, errors : int
        Images whose confidence reaches the threshold, and the incorrect predictions among them.
    accuracy, accuracy_interval : float, (float, float)
        Of the predicted images, with Wilson's 95 % interval; NaN if there are none.
    deferred : float
        Share of the images deferred to a person, 0 to 1.
    """

    threshold: float
    n: int
    predicted: int
    errors: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    deferred: float


def selective_accuracy(threshold: float, probabilities: NDArray[Any], labels: ArrayLike) -> SelectivePrediction:
    """Evaluate selective prediction: only images whose confidence reaches the threshold are predicted.

    Parameters
    ----------
    threshold : float
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)
    """
    kept = probabilities.max(axis=1) >= threshold
    predicted = int(kept.sum())
    errors = int((probabilities.argmax(axis=1) != np.asarray(labels))[kept].sum())
    accuracy, interval = np.nan, (np.nan, np.nan)
    if predicted:
        accuracy, interval = 1 - errors / predicted, wilson_interval(predicted - errors, predicted)
    return SelectivePrediction(threshold, len(kept), predicted, errors, accuracy, interval, 1 - predicted / len(kept))
