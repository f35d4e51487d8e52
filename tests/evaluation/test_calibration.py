from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from mnist_utils.evaluation.calibration import (
    adaptive_calibration_error,
    brier_score,
    calibration_error_interval,
    classwise_calibration_error,
    expected_calibration_error,
)

RANDOM = np.random.default_rng(0)
PROBABILITIES = softmax(RANDOM.normal(0, 2, (600, 10)), axis=1)
LABELS = np.where(RANDOM.random(600) < 0.7, PROBABILITIES.argmax(axis=1), RANDOM.integers(0, 10, 600))


def two_classes(*first: float) -> np.ndarray:
    return np.column_stack([first, 1 - np.array(first)])


def test_brier_score_is_the_sum_over_the_classes() -> None:
    wanted = sum(brier_score_loss(digit == LABELS, PROBABILITIES[:, digit]) for digit in range(10))
    assert brier_score(PROBABILITIES, LABELS) == pytest.approx(wanted)
    # 0.2 and 0.2, squared and added: 0.08; 0.9 and 0.9: 1.62
    assert brier_score(two_classes(0.8, 0.1), [0, 0]) == pytest.approx((0.08 + 1.62) / 2)
    assert brier_score(np.eye(10), np.arange(10)) == 0
    assert brier_score(np.eye(10), (np.arange(10) + 1) % 10) == 2


def test_brier_score_is_least_for_the_true_probabilities() -> None:
    labels = np.random.default_rng(1).choice(10, 4000, p=PROBABILITIES[0])
    scores = [brier_score(softmax(np.log(PROBABILITIES[[0] * 4000]) / t, axis=1), labels) for t in (0.5, 1.0, 2.0)]
    assert np.argmin(scores) == 1


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_adaptive_error_agrees_with_scikit_learns_quantile_bins(bins: int) -> None:
    confidence, correct = PROBABILITIES.max(axis=1), PROBABILITIES.argmax(axis=1) == LABELS
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins, strategy="quantile")
    assert len(mean) == bins  # each of 600 / bins images
    assert adaptive_calibration_error(PROBABILITIES, LABELS, bins) == pytest.approx(np.abs(accuracy - mean).mean())


def test_adaptive_bins_see_what_cancels_in_one_bin() -> None:
    """Use confidences of 0.94 that are always correct, and of 0.99 that are so in 0.94 of the cases: one bin of 15."""
    confidence = np.repeat([0.94, 0.99], 100)
    labels = np.zeros(200, int)
    labels[100:106] = 1
    gaps = 0.06, 0.05
    assert expected_calibration_error(two_classes(*confidence), labels) == pytest.approx(abs(gaps[0] - gaps[1]) / 2)
    assert adaptive_calibration_error(two_classes(*confidence), labels, bins=2) == pytest.approx(sum(gaps) / 2)


def test_equal_confidences_share_a_bin_in_whatever_order() -> None:
    probabilities, labels = two_classes(*[0.9] * 10), np.arange(10) < 2
    assert adaptive_calibration_error(probabilities, labels.astype(int), bins=5) == pytest.approx(0.1)
    assert adaptive_calibration_error(probabilities, labels[::-1].astype(int), bins=5) == pytest.approx(0.1)


def test_classwise_error_agrees_with_scikit_learns_curves() -> None:
    errors = []
    for digit in range(10):
        probability = PROBABILITIES[:, digit]
        shares, means = calibration_curve(digit == LABELS, probability, n_bins=15)
        n = np.histogram(probability, np.linspace(0, 1, 16))[0]
        errors.append((n[n > 0] * np.abs(shares - means)).sum() / 600)
    assert classwise_calibration_error(PROBABILITIES, LABELS) == pytest.approx(np.mean(errors))


def test_classwise_error_sees_what_the_predicted_class_hides() -> None:
    """Give 0 the rest that is always 2's: the prediction, 1 with 0.8, is correct in 0.8 of the cases."""
    probabilities = np.tile([0.2, 0.8, 0.0], (10, 1))
    labels = [2, 2] + [1] * 8
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0)
    assert classwise_calibration_error(probabilities, labels) == pytest.approx((0.2 + 0 + 0.2) / 3)


def test_calibrated_probabilities_have_small_errors() -> None:
    labels = np.array([np.random.default_rng(i).choice(10, p=row) for i, row in enumerate(PROBABILITIES)])
    sharper = PROBABILITIES**2 / (PROBABILITIES**2).sum(axis=1, keepdims=True)
    for error in adaptive_calibration_error, classwise_calibration_error:
        assert error(PROBABILITIES, labels) < 0.07
        assert error(PROBABILITIES, labels) < 0.6 * error(sharper, labels)
        assert error(np.eye(10), np.arange(10)) == 0


def test_the_seed_of_the_interval_counts() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.3] * 5, 300)
    labels = random.integers(0, 5, 300)
    one, again, other = (calibration_error_interval(probabilities, labels, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
