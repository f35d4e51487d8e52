"""Where a network errs, and how far its confidence can be trusted: from recorded answers to tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mnist_utils.evaluation.statistics import wilson_interval

# --- digits -----------------------------------------------------------------------------------------------


def per_class_table(matrix: ArrayLike) -> pd.DataFrame:
    """Compute precision, recall and F1 of each digit, with 95 % intervals.

    Precision and recall are shares of images, so Wilson's interval fits them. F1 is none, but F* = TP / (TP + FP + FN), the
    share of right ones among the images that show the digit or are taken for it, is; and F1 = 2 F* / (1 + F*) grows with it.

    Parameters
    ----------
    matrix : integer array, shape (10, 10)
        Row: true label, column: answer.

    Returns
    -------
    DataFrame
        A row a digit; columns n, and precision, recall, f1, each with _low and _high; 0 to 1, NaN where nothing can be said.

    References
    ----------
    Hand, Christen, Kirielle (2021), F*: an interpretable transformation of the F-measure. Machine Learning 110.
    """
    counts = np.asarray(matrix)
    hits, shown, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    columns: dict[str, Any] = {"n": shown}
    for name, total in ("precision", answered), ("recall", shown), ("f1", shown + answered - hits):
        rows = [
            (right / n, *wilson_interval(int(right), int(n))) if n else (np.nan,) * 3
            for right, n in zip(hits, total, strict=True)
        ]
        shares = np.array(rows, np.float64).T
        if name == "f1":
            shares = 2 * shares / (1 + shares)
        columns |= dict(zip((name, f"{name}_low", f"{name}_high"), shares, strict=True))
    return pd.DataFrame(columns, index=pd.Index(range(len(counts)), name="digit"))


def confused_pairs(matrix: ArrayLike, top: int = 10) -> pd.DataFrame:
    """List the most frequent errors.

    Parameters
    ----------
    matrix : integer array, shape (10, 10)
        Row: true label, column: answer.
    top : int
        Rows at most.

    Returns
    -------
    DataFrame
        Columns digit, answer, images, share (of all errors, 0 to 1); the most frequent first.
    """
    errors = np.array(matrix)
    np.fill_diagonal(errors, 0)
    digits, answers = np.nonzero(errors)
    images = errors[digits, answers]
    pairs = pd.DataFrame({"digit": digits, "answer": answers, "images": images, "share": images / max(errors.sum(), 1)})
    return pairs.sort_values(["images", "digit", "answer"], ascending=[False, True, True], ignore_index=True).head(top)


def recall_homogeneity_test(matrix: ArrayLike) -> float:
    """Test whether the digits' recalls differ by more than chance.

    Picking the best and the worst of ten and comparing their intervals would find a difference too often.

    Parameters
    ----------
    matrix : integer array, shape (10, 10)
        Row: true label, column: answer.

    Returns
    -------
    float
        The p-value of Pearson's chi-squared test of homogeneity; 1 where all or none of the answers are right.
    """
    from scipy.stats import chi2_contingency

    counts = np.asarray(matrix)
    table = np.stack([counts.diagonal(), counts.sum(axis=1) - counts.diagonal()])
    table = table[:, table.any(axis=0)]  # without digits that do not occur
    return float(chi2_contingency(table).pvalue) if table.any(axis=1).all() else 1.0


# --- confidence -------------------------------------------------------------------------------------------


def risk_coverage(probabilities: NDArray[Any], labels: ArrayLike) -> pd.DataFrame:
    """Compute what is gained by leaving the least certain answers to a person.

    Parameters
    ----------
    probabilities : float array, shape (n, 10), n > 0
    labels : integer array, shape (n,)

    Returns
    -------
    DataFrame
        For each confidence that occurs, from high to low: threshold, answered (images at least that confident), coverage
        (their share of all, 0 to 1), errors (among them), risk (the share of errors among them, 0 to 1).

    References
    ----------
    El-Yaniv and Wiener (2010), On the foundations of noise-free selective classification. JMLR 11.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum((probabilities.argmax(axis=1) != np.asarray(labels))[order])
    ordered = confidence[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # equal confidences are answered together
    answered = last + 1
    return pd.DataFrame(
        {
            "threshold": ordered[last].astype(np.float64),
            "answered": answered,
            "coverage": answered / len(ordered),
            "errors": errors[last],
            "risk": errors[last] / answered,
        }
    )


def threshold_for_accuracy(accuracy: float, probabilities: NDArray[Any], labels: ArrayLike) -> float:
    """Find the lowest confidence at which the answered images are right often enough.

    Choose on validation images, then look with `selective_accuracy` what it does on others: on the images that it was
    chosen on, it looks better than it is.

    Parameters
    ----------
    accuracy : float, 0 to 1
        Wanted share of right answers among the answered.
    probabilities : float array, shape (n, 10), n > 0
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0 to 1; infinite where no threshold does it
    """
    curve = risk_coverage(probabilities, labels)
    enough = curve[curve["answered"] - curve["errors"] >= accuracy * curve["answered"]]
    return float(enough["threshold"].iloc[-1]) if len(enough) else np.inf


@dataclass(frozen=True)
class SelectivePrediction:
    """The images that a network answers by itself, given a threshold; the others are left to a person.

    Attributes
    ----------
    n : int
        All images.
    answered, errors : int
        Those whose confidence reaches the threshold, and the wrong answers among them.
    accuracy, accuracy_interval : float, (float, float)
        Of the answered images, with Wilson's 95 % interval; NaN where there are none.
    deferred : float
        Share of the images that are left to a person, 0 to 1.
    """

    threshold: float
    n: int
    answered: int
    errors: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    deferred: float


def selective_accuracy(threshold: float, probabilities: NDArray[Any], labels: ArrayLike) -> SelectivePrediction:
    """Count what a network answers, and how well, if it keeps silent below a confidence.

    Parameters
    ----------
    threshold : float
    probabilities : float array, shape (n, 10), n > 0
    labels : integer array, shape (n,)
    """
    speaks = probabilities.max(axis=1) >= threshold
    answered = int(speaks.sum())
    errors = int((probabilities.argmax(axis=1) != np.asarray(labels))[speaks].sum())
    accuracy, interval = np.nan, (np.nan, np.nan)
    if answered:
        accuracy, interval = 1 - errors / answered, wilson_interval(answered - errors, answered)
    return SelectivePrediction(threshold, len(speaks), answered, errors, accuracy, interval, 1 - answered / len(speaks))
