"""Calibrators: the interval of a temperature, and whether a calibrator holds on images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import KFold, StratifiedKFold

from mnist_utils._support.arrays import TINY, log_losses, log_probabilities
from mnist_utils.evaluation.calibration import (
    apply_temperature,
    count_errors,
    expected_calibration_error,
    fit_temperature,
)
from mnist_utils.evaluation.statistics import student_interval

Calibrated = Callable[[NDArray[Any]], NDArray[np.float64]]
Calibrator = Callable[[NDArray[Any], NDArray[Any]], Calibrated]


def temperature_interval(probabilities: NDArray[Any], labels: NDArray[Any], temperature: float) -> tuple[float, float]:
    """Return the 95 % interval of a fitted temperature, over images.

    It is of the inverse temperature, by which the logits are multiplied, and holds also where no temperature calibrates
    them exactly (the "sandwich" of Huber 1967).

    Parameters
    ----------
    probabilities, labels
        What it was fitted on.
    temperature : float
        From `fit_temperature`.

    Returns
    -------
    (float, float)
        The upper end is infinite where the images do not bound it; both are NaN without any error among the predictions, and
        where no temperature changes much.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return np.nan, np.nan
    logits = log_probabilities(probabilities)
    scaled = apply_temperature(probabilities, temperature)
    mean = (scaled * logits).sum(axis=1)
    slopes = mean - logits[np.arange(len(labels)), labels]  # of an image's loss, by the inverse temperature
    curvature = ((scaled * logits**2).sum(axis=1) - mean**2).sum()
    if curvature < 1e-6 * len(labels):  # nearly uniform, or certain: no temperature changes anything
        return np.nan, np.nan
    error = 1.959964 * np.sqrt((slopes**2).sum()) / curvature
    inverse = 1 / temperature
    return float(1 / (inverse + error)), float(1 / (inverse - error)) if inverse > error else np.inf


def no_calibrator(_: NDArray[Any], __: NDArray[Any]) -> Calibrated:
    """Leave probabilities as they are."""
    return lambda probabilities: probabilities.astype(np.float64)


def temperature_calibrator(probabilities: NDArray[Any], labels: NDArray[Any]) -> Calibrated:
    """Fit a temperature, see `fit_temperature`."""
    temperature = fit_temperature(probabilities, labels)
    return lambda other: apply_temperature(other, temperature)


def vector_calibrator(probabilities: NDArray[Any], labels: NDArray[Any]) -> Calibrated:
    """Fit a factor and an offset for each class's logit (vector scaling, Guo et al. 2017, section 4.2)."""
    classes = probabilities.shape[1]
    logits = log_probabilities(probabilities)
    wanted = np.eye(classes)[labels]

    def scale(values: NDArray[np.float64], by: NDArray[Any]) -> NDArray[np.float64]:
        changed = values * by[:classes] + by[classes:]
        powers = np.exp(changed - changed.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def loss(by: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        found = scale(logits, by)
        gap = (found - wanted) / len(labels)
        value = -np.log(np.maximum((found * wanted).sum(axis=1), TINY)).mean()
        return float(value), np.concatenate([(gap * logits).sum(axis=0), gap.sum(axis=0)])

    begin = np.concatenate([np.ones(classes), np.zeros(classes)])
    by = minimize(loss, begin, jac=True, method="L-BFGS-B").x
    return lambda other: scale(log_probabilities(other), by)


CALIBRATORS: Mapping[str, Calibrator] = {
    "none": no_calibrator,
    "temperature": temperature_calibrator,
    "vector scaling": vector_calibrator,
}


def cross_fit(
    probabilities: NDArray[Any], labels: NDArray[Any], calibrator: Calibrator, *, folds: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """Calibrate each image's probabilities by what was fitted on the other folds.

    Parameters
    ----------
    probabilities : float array, shape (n, classes)
    labels : integer array, shape (n,), n > 1
    calibrator : callable
        One of `CALIBRATORS`, or your own.
    folds, seed : int
        Into how many parts the images are divided, with as many errors in each where there are enough, and how.

    Returns
    -------
    float64 array, shape (n, classes)
    """
    found = np.empty(probabilities.shape)
    correct = probabilities.argmax(axis=1) == labels
    divide = StratifiedKFold if min(correct.sum(), (~correct).sum()) >= folds else KFold
    for others, part in divide(min(folds, len(labels)), shuffle=True, random_state=seed).split(labels, correct):
        found[part] = calibrator(probabilities[others], labels[others])(probabilities[part])
    return found


def compare_calibrators(
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    *,
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare `CALIBRATORS` on images that each was not fitted on: choose by the log loss.

    Parameters
    ----------
    probabilities, labels, folds, seed
        See `cross_fit`.

    Returns
    -------
    DataFrame
        A row for each calibrator; columns: log loss, change, low, high (of the log loss against none, with Student's 95 %
        interval over images), calibration error, errors expected, errors observed, p (see `count_errors`).
    """
    rows, losses = {}, {}
    for name, calibrator in CALIBRATORS.items():
        found = cross_fit(probabilities, labels, calibrator, folds=folds, seed=seed)
        losses[name] = log_losses(found, labels)
        change, low, high = student_interval(losses[name] - losses["none"])
        errors = count_errors(found, labels)
        rows[name] = {
            **{"log loss": losses[name].mean(), "change": change, "low": low, "high": high},
            "calibration error": expected_calibration_error(found, labels),
            **{"errors expected": errors.expected, "errors observed": errors.observed, "p": errors.p_value},
        }
    return pd.DataFrame(rows).T.astype({"errors observed": int})
