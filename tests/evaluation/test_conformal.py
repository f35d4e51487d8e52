from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import betabinom

from mnist_utils.evaluation.conformal import (
    SetCoverage,
    conformal_threshold,
    coverage_table,
    evaluate_sets,
    prediction_sets,
)
from mnist_utils.evaluation.statistics import wilson_interval


def of_truth(*values: float) -> np.ndarray:
    """Give the true label, 0, these probabilities; the rest is that of 1."""
    return np.column_stack([values, 1 - np.array(values)])


def test_threshold_by_hand() -> None:
    probabilities, labels = of_truth(0.5, 0.9, 0.1, 0.8, 0.7, 0.6, 0.95, 0.4, 0.3), np.zeros(9, int)
    # Of 10 images, these nine and a new one, the new one is equally probably in each place. So 9 of 10 are not the lowest.
    assert conformal_threshold(0.9, probabilities, labels) == pytest.approx(0.1)
    assert conformal_threshold(0.8, probabilities, labels) == pytest.approx(0.3)
    assert conformal_threshold(0.75, probabilities, labels) == pytest.approx(0.3)  # eight of ten are needed for 75 %
    assert conformal_threshold(0.7, probabilities, labels) == pytest.approx(0.4)
    assert conformal_threshold(0.901, probabilities, labels) == 0  # nine images cannot show more than nine tenths
    assert conformal_threshold(0.99, of_truth(*np.full(99, 0.6)), np.zeros(99, int)) == pytest.approx(0.6)
    assert conformal_threshold(0.99, of_truth(*np.full(98, 0.6)), np.zeros(98, int)) == 0
    # 100 * 0.55 is 55.00000000000001 in floating point; 55 of a hundred are needed, not 56.
    assert conformal_threshold(0.55, of_truth(*np.arange(1, 100) / 100), np.zeros(99, int)) == pytest.approx(0.45)


@pytest.mark.parametrize("coverage", [0, 1, 1.5])
def test_a_coverage_is_between_0_and_1(coverage: float) -> None:
    with pytest.raises(ValueError, match="allowed: above 0 to below 1"):
        conformal_threshold(coverage, of_truth(0.5), [0])


def test_sets_by_hand() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.3, 0.3, 0.4], [0.05, 0.9, 0.05]])
    sets = prediction_sets(0.35, probabilities)
    assert sets.tolist() == [[True, False, False], [True, True, False], [False, False, True], [False, True, False]]
    low, high = wilson_interval(3, 4)
    assert evaluate_sets(sets, [0, 1, 0, 1]) == SetCoverage(4, 3, 0.75, low, high, 1.25, 0.0, 0.75, 0.25)
    assert evaluate_sets(prediction_sets(0.8, probabilities), [0, 1, 0, 1]).empty == 0.75


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (30, 0.95), (100, 0.8)])
def test_the_coverage_of_exchangeable_images_is_at_least_the_nominal_one(n: int, coverage: float) -> None:
    """Let a model be wrong about its probabilities: the coverage holds still, and no more than 1 / (n + 1) above."""
    random, new = np.random.default_rng(0), 200
    draws = []
    for _ in range(600):
        logits = random.normal(0, 1, (n + new, 5))
        labels = np.array([random.choice(5, p=row) for row in softmax(logits, axis=1)])
        claimed = softmax(3 * logits, axis=1)  # much too confident
        threshold = conformal_threshold(coverage, claimed[:n], labels[:n])
        draws.append(evaluate_sets(prediction_sets(threshold, claimed[n:]), labels[n:]).coverage)
    needed = int(np.ceil((n + 1) * coverage - 1e-9))
    exact = betabinom(new, needed, n + 1 - needed)  # of the sets that cover, over draws of both
    assert needed / (n + 1) >= coverage
    assert np.mean(draws) == pytest.approx(needed / (n + 1), abs=4 * exact.std() / new / np.sqrt(600))
    assert np.std(draws) == pytest.approx(exact.std() / new, rel=0.15)


def test_a_table_has_a_row_for_each_level() -> None:
    random = np.random.default_rng(0)
    probabilities = softmax(random.normal(0, 2, (400, 10)), axis=1)
    labels = np.array([random.choice(10, p=row) for row in probabilities])
    found = coverage_table((0.5, 0.9, 0.99), (probabilities[:200], labels[:200]), (probabilities[200:], labels[200:]))
    assert found["nominal"].tolist() == [0.5, 0.9, 0.99]
    assert found["threshold"].is_monotonic_decreasing
    assert found["mean_size"].is_monotonic_increasing
    row = found.to_dict("records")[1]
    assert row["threshold"] == conformal_threshold(0.9, probabilities[:200], labels[:200])
    sets = prediction_sets(row["threshold"], probabilities[200:])
    assert row["mean_size"] == evaluate_sets(sets, labels[200:]).mean_size
    assert (row["empty"] + row["single"] + row["larger"], row["n"]) == (1, 200)
