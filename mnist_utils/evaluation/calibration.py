"""Confidence against accuracy: calibration error, reliability, temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import TINY


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
    return np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1), confidence, correct


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
        # `expected_calibration_error`, with the bins computed once
        return float(np.abs(np.bincount(at, gaps, bins)).sum() / len(at))

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

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(scaled[np.arange(len(labels)), labels], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


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
    logits = np.log(np.maximum(probabilities.astype(np.float64), TINY)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def centred_logits(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return logits whose softmax are these probabilities, and whose mean over the classes is 0, in nat.

    A softmax is the same after a constant is added to all logits, so only their differences are known.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), TINY))
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))
