"""Confidence against accuracy: calibration errors, reliability, expected errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import log_probabilities

_MOST_EXACT = 20_000  # images whose errors are counted exactly


@dataclass(frozen=True)
class ReliabilityBins:
    """Accuracy of predictions of similar confidence, in bins of equal width from 0 to 1.

    Attributes
    ----------
    n : integer array, shape (bins,)
        Images in each bin; a bin includes its upper edge.
    confidence, accuracy : float array, shape (bins,)
        Mean confidence and share of correct predictions in each bin; NaN for an empty bin.
    """

    n: NDArray[np.intp]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability_bins(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> ReliabilityBins:
    """Compute the bins of a reliability diagram.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1.

    References
    ----------
    Niculescu-Mizil and Caruana (2005), Predicting good probabilities with supervised learning. ICML.
    """
    index, confidence, correct = _binned(probabilities, labels, bins)
    n = np.bincount(index, minlength=bins)
    means = [
        np.divide(np.bincount(index, values, bins), n, out=np.full(bins, np.nan), where=n > 0)
        for values in (confidence, correct)
    ]
    return ReliabilityBins(n, means[0], means[1])


def _binned(
    probabilities: NDArray[Any], labels: ArrayLike, bins: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """Return each image's bin, its confidence, and whether its prediction is correct."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == np.asarray(labels)
    return _bin_index(confidence, bins), confidence, correct


def _bin_index(values: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Return the bin of each value between 0 and 1; a bin includes its upper edge."""
    return np.clip(np.ceil(values * bins).astype(np.intp) - 1, 0, bins - 1)


def expected_calibration_error(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width, weighted by their images.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1; a bin includes its upper edge.

    Returns
    -------
    float, 0 (nine in ten predictions of confidence 0.9 are correct) to 1

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks. ICML. Equation 3.
    """
    found = reliability_bins(probabilities, labels, bins)
    return float(np.nansum(found.n * np.abs(found.accuracy - found.confidence)) / found.n.sum())


def adaptive_calibration_error(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over bins with equally many images.

    Bins of equal width put nearly all images of a good model into the last one, where gaps of both signs cancel. These bins
    are narrow where the images are. Images of equal confidence stay together.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)
    bins : int

    Returns
    -------
    float, 0 to 1; sampling error alone makes it more than 0

    References
    ----------
    Nguyen and O'Connor (2015), Posterior calibration and exploratory analysis for natural language processing models. EMNLP.
    """
    _, confidence, correct = _binned(probabilities, labels, bins)
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return _mean_gap(np.searchsorted(edges, confidence), correct - confidence, bins)


def classwise_calibration_error(probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15) -> float:
    """Return the calibration error of each class's probability, not only of the predicted one's, as a mean over classes.

    Of the images to which a model gives a 3 a probability of 10 %, one in ten should be a 3.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)
    bins : int
        Bins of equal width between 0 and 1, for each class; a bin includes its upper edge.

    Returns
    -------
    float, 0 to 1; with many classes small, as most probabilities are about 0

    References
    ----------
    Kull, Perello-Nieto, Kaengsepp, Silva Filho, Song, Flach (2019), Beyond temperature scaling: obtaining well-calibrated
    multi-class probabilities with Dirichlet calibration. NeurIPS.
    """
    exact = probabilities.astype(np.float64)
    gaps = (np.arange(exact.shape[1]) == np.asarray(labels)[:, None]) - exact
    index = _bin_index(exact, bins)
    return float(np.mean([_mean_gap(at, gap, bins) for at, gap in zip(index.T, gaps.T, strict=True)]))


def _mean_gap(index: NDArray[np.intp], gap: NDArray[np.float64], bins: int) -> float:
    """Return the absolute value of each bin's mean gap, averaged over images."""
    return float(np.abs(np.bincount(index, gap, bins)).sum() / len(index))


def brier_score(probabilities: NDArray[Any], labels: ArrayLike) -> float:
    """Return the mean squared distance of the probabilities from the truth: 1 for the true class, 0 for the others.

    It is Brier's own form, the sum over all classes; with two classes it is twice the form that has one term. Like the log
    loss, it is least for the true probabilities, and so measures calibration and discrimination together.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 0
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0 (certain and correct) to 2 (certain and incorrect)

    References
    ----------
    Brier (1950), Verification of forecasts expressed in terms of probability. Monthly Weather Review 78.
    """
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(distance)), np.asarray(labels)] -= 1
    return float((distance**2).sum(axis=1).mean())


def calibration_error_interval(
    probabilities: NDArray[Any], labels: ArrayLike, bins: int = 15, seed: int = 0
) -> tuple[float, float]:
    """Return a 95 % interval for `expected_calibration_error`, over test images.

    It uses the basic bootstrap. Resampling adds sampling error to every bin, about as much as the estimate already contains,
    and so increases the calibration error; the basic interval subtracts it twice. This fails near 0, the lower bound of the
    error: if a perfectly calibrated model with the same confidences would have at least this error in more than one case in
    twenty, the interval begins at 0.

    Parameters
    ----------
    probabilities : float array, shape (n, classes), n > 1
    labels : integer array, shape (n,)
    bins : int
        Number of bins between 0 and 1.
    seed : int
        Of the thousand resamples.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap methods and their application. Section 5.2.
    Vaicenavicius et al. (2019), Evaluating model calibration in classification. AISTATS: the perfectly calibrated model.
    """
    from scipy.stats import bootstrap

    index, confidence, correct = _binned(probabilities, labels, bins)
    random, gap = np.random.default_rng(seed), correct - confidence

    def error(gaps: NDArray[np.float64], at: NDArray[np.intp]) -> float:
        return _mean_gap(at, gaps, bins)  # `expected_calibration_error`, with the bins computed once

    found = bootstrap(
        (np.arange(len(index)),),
        lambda sample: error(gap[sample], index[sample]),
        n_resamples=999,
        method="basic",
        vectorized=False,
        rng=random,
    )
    low, high = found.confidence_interval
    estimate = error(gap, index)
    perfect = [error((random.random(len(index)) < confidence) - confidence, index) for _ in range(999)]
    not_significant = estimate <= np.quantile(perfect, 0.95)
    return 0.0 if not_significant else max(0.0, float(low)), min(1.0, max(estimate, float(high)))


def fit_temperature(probabilities: NDArray[Any], labels: NDArray[Any]) -> float:
    """Find the temperature that calibrates probabilities, on images that the model was not trained on.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    labels : integer array, shape (n,)

    Returns
    -------
    float, 0.05 to 20
        Above 1 if the model is overconfident; see `apply_temperature`.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), On calibration of modern neural networks. ICML. Section 4.2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = log_probabilities(probabilities)
    of_label = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:  # convex, so that a bounded search finds its only minimum
        return float((logsumexp(inverse * logits, axis=1) - inverse * of_label).mean())

    return 1 / float(minimize_scalar(loss, bounds=(1 / 20, 20), method="bounded", options={"xatol": 1e-6}).x)


def apply_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    """Divide the logits, the logarithms of the probabilities, by a temperature; their order is unchanged.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    temperature : float, above 0

    Returns
    -------
    float64 array, shape (n, classes), rows sum to 1
    """
    logits = log_probabilities(probabilities) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class ErrorCount:
    """Errors that the confidences predict, and those that there are.

    Attributes
    ----------
    expected, observed : float, int
        The sum of 1 - confidence, and the incorrect predictions.
    p_value : float
        Two-sided, of the count of errors under the confidences, which are taken as independent (Poisson binomial).
    """

    expected: float
    observed: int
    p_value: float


def count_errors(probabilities: NDArray[Any], labels: ArrayLike) -> ErrorCount:
    """Compare the number of errors with the number that the confidences predict: of a hundred with 97 %, three.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    labels : integer array, shape (n,)
    """
    from scipy.stats import norm, poisson_binom

    doubt = np.clip(1 - probabilities.max(axis=1).astype(np.float64), 0, 1)
    observed = int((probabilities.argmax(axis=1) != labels).sum())
    if len(doubt) <= _MOST_EXACT:
        below, here = poisson_binom(doubt).cdf(observed), poisson_binom(doubt).pmf(observed)
        tail = min(below, 1 - below + here)
    else:  # the time of the exact sum grows with the square of the images
        tail = norm.sf(max(0.0, abs(observed - doubt.sum()) - 0.5) / np.sqrt((doubt * (1 - doubt)).sum()))
    return ErrorCount(float(doubt.sum()), observed, float(np.clip(2 * tail, 0, 1)))
