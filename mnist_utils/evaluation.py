"""From a network's probabilities and the true labels to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME = 1e-9  # accuracies that differ by less are the same, but for the last digits of a float
_CLASSES = np.arange(10)


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 (0 to 1) of one digit, and the number of images that truly show it."""

    label: int
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True)
class Metrics:
    """What `evaluate` found on `n` images.

    Attributes
    ----------
    accuracy : float
        Share of right answers, 0 to 1.
    accuracy_interval : (float, float)
        Wilson's 95 % interval for it.
    log_loss : float
        Mean negative natural logarithm of the true label's probability.
    expected_calibration_error : float
        See `expected_calibration_error`.
    per_class : list of ClassMetrics
    confusion_matrix : list of list of int
        Row: true label, column: answer.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    log_loss: float
    expected_calibration_error: float
    per_class: list[ClassMetrics]
    confusion_matrix: list[list[int]]


def evaluate(probabilities: NDArray[Any], labels: NDArray[Any]) -> Metrics:
    """Compute the numbers that every run records.

    Parameters
    ----------
    probabilities : float array, shape (n, 10), rows sum to 1
    labels : integer array, shape (n,), values 0 to 9

    Raises
    ------
    ValueError
        If the shapes do not fit or there is no image.
    """
    from sklearn import metrics  # heavy; the rest of this module does without

    if probabilities.shape != (len(labels), 10) or len(labels) == 0:
        raise ValueError(f"probabilities of shape {probabilities.shape} for {len(labels)} labels; wanted (n, 10), n > 0")
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 sums to one only nearly
    answers = probabilities.argmax(axis=1)
    right = int((answers == labels).sum())
    table = metrics.precision_recall_fscore_support(labels, answers, labels=_CLASSES, zero_division=0)
    return Metrics(
        n=len(labels),
        accuracy=right / len(labels),
        accuracy_interval=wilson_interval(right, len(labels)),
        log_loss=float(metrics.log_loss(labels, probabilities, labels=_CLASSES)),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        per_class=[
            ClassMetrics(i, float(p), float(r), float(f), int(n)) for i, (p, r, f, n) in enumerate(zip(*table, strict=True))
        ],
        confusion_matrix=metrics.confusion_matrix(labels, answers, labels=_CLASSES).tolist(),
    )


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval for a share of `right` in `n`.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Reliability:
    """How often answers of equal confidence are right, in bins of equal width from 0 to 1.

    Attributes
    ----------
    n : integer array, shape (bins,)
        Images in each bin; a bin holds its upper edge.
    confidence, accuracy : float array, shape (bins,)
        Mean confidence and share of right answers in each bin; NaN where it is empty.
    """

    n: NDArray[np.intp]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> Reliability:
    """Compute what a reliability diagram shows.

    Parameters
    ----------
    probabilities : float array, shape (n, 10)
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1.

    References
    ----------
    Niculescu-Mizil and Caruana (2005), Predicting good probabilities with supervised learning. ICML.
    """
    index, confidence, right = _binned(probabilities, labels, bins)
    n = np.bincount(index, minlength=bins)
    means = [
        np.divide(np.bincount(index, values, bins), n, out=np.full(bins, np.nan), where=n > 0)
        for values in (confidence, right)
    ]
    return Reliability(n, means[0], means[1])


def _binned(
    probabilities: NDArray[Any], labels: ArrayLike, bins: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """Return each image's bin, confidence, and whether it was answered right."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    return np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1), confidence, right


def expected_calibration_error(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width, weighted by their images.

    Parameters
    ----------
    probabilities : float array, shape (n, 10)
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1; a bin holds its upper edge.

    Returns
    -------
    float, 0 (a confidence of 0.9 is right nine times in ten) to 1

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks. ICML. Equation 3.
    """
    found = reliability(probabilities, labels, bins)
    return float(np.nansum(found.n * np.abs(found.accuracy - found.confidence)) / found.n.sum())


def calibration_error_interval(
    probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % interval for `expected_calibration_error`, over test images.

    The basic bootstrap: drawing images again adds noise to every bin, and so error, by about as much as is in the
    estimate already; it is taken off twice. Near 0, which the error cannot fall below, that fails: where a perfectly
    calibrated network with the same confidences would show as much in more than one case of twenty, the interval
    begins at 0.

    Parameters
    ----------
    probabilities : float array, shape (n, 10), n > 1
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1.
    seed : int
        Of the thousand draws.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap methods and their application. Section 5.2.
    Vaicenavicius et al. (2019), Evaluating model calibration in classification. AISTATS: the perfectly calibrated network.
    """
    from scipy.stats import bootstrap

    index, confidence, right = _binned(probabilities, labels, bins)
    random, gap = np.random.default_rng(seed), right - confidence

    def of(
        gaps: NDArray[np.float64], at: NDArray[np.intp]
    ) -> float:  # `expected_calibration_error`; the bins are found once
        return float(np.abs(np.bincount(at, gaps, bins)).sum() / len(at))

    found = bootstrap(
        (np.arange(len(index)),),
        lambda drawn: of(gap[drawn], index[drawn]),
        n_resamples=999,
        method="basic",
        vectorized=False,
        rng=random,
    )
    low, high = found.confidence_interval
    estimate = of(gap, index)
    perfect = [of((random.random(len(index)) < confidence) - confidence, index) for _ in range(999)]
    within_noise = estimate <= np.quantile(perfect, 0.95)
    return 0.0 if within_noise else max(0.0, float(low)), min(1.0, max(estimate, float(high)))


def fit_temperature(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Find the temperature that makes probabilities mean what they say, on images that were not trained on.

    Parameters
    ----------
    probabilities : float array, shape (n, 10)
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0.05 to 20
        Above 1 where the network is too sure of itself; see `apply_temperature`.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks. ICML. Section 4.2.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(scaled[np.arange(len(labels)), labels], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def apply_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Divide the logits, which are the logarithms of the probabilities, by a temperature; the order stays.

    Parameters
    ----------
    probabilities : float array, shape (n, 10)
    temperature : float, above 0

    Returns
    -------
    float64 array, shape (n, 10), rows sum to 1
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class PairedComparison:
    """Two classifiers on the same images.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the one, only the other, answers right.
    difference : float
        Accuracy of B minus accuracy of A.
    difference_interval : (float, float)
        95 % interval for it.
    p_value : float
        Of McNemar's exact test that neither is better.
    """

    n: int
    only_a: int
    only_b: int
    difference: float
    difference_interval: tuple[float, float]
    p_value: float


def compare_paired(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> PairedComparison:
    """Say whether B is really better than A: McNemar's test on the images where they differ.

    Parameters
    ----------
    right_a, right_b : bool array, shape (n,)
        Whether each image was answered right; the same images in the same order.

    References
    ----------
    McNemar (1947), Psychometrika 12; the exact form is a sign test on the discordant pairs.
    Bonett and Price (2012), Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data. J. Educational and Behavioral Statistics 37.
    """
    from scipy.stats import binomtest, norm

    if right_a.shape != right_b.shape or len(right_a) == 0:
        raise ValueError(f"shapes {right_a.shape} and {right_b.shape}; wanted the same images in both, at least one")
    n = len(right_a)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_b - share_a
    half = float(norm.ppf(0.975)) * np.sqrt((share_a + share_b - centre**2) / (n + 2))
    interval = (float(max(-1, centre - half)), float(min(1, centre + half)))
    return PairedComparison(n, only_a, only_b, (only_b - only_a) / n, interval, p_value)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct the p-values of several tests, so that the chance of any false alarm stays at the level of one.

    Parameters
    ----------
    p_values : float array, shape (tests,), 0 to 1

    Returns
    -------
    float array, shape (tests,)
        To be compared with the level, 0.05 say, as a single test's.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.
    """
    given = np.asarray(p_values, np.float64)
    order = given.argsort(kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(stepped, 1)
    return corrected
