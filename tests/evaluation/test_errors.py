from __future__ import annotations

import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import binom, binomtest
from sklearn.metrics import f1_score, precision_score, recall_score

from mnist_utils.evaluation.errors import (
    confused_pairs,
    per_class_table,
    recall_homogeneity_test,
    risk_coverage,
    risk_coverage_area,
    selective_accuracy,
    threshold_for_accuracy,
)

RANDOM = np.random.default_rng(0)
PROBABILITIES = softmax(RANDOM.normal(0, 2, (400, 10)), axis=1)
LABELS = np.where(RANDOM.random(400) < 0.8, PROBABILITIES.argmax(axis=1), RANDOM.integers(0, 10, 400))


def matrix(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


# --- digits ---


def test_scores_agree_with_scikit_learn() -> None:
    predicted = PROBABILITIES.argmax(axis=1)
    found = per_class_table(matrix(LABELS, predicted))
    assert found["n"].tolist() == np.bincount(LABELS, minlength=10).tolist()
    for name, score in ("precision", precision_score), ("recall", recall_score), ("f1", f1_score):
        np.testing.assert_allclose(found[name], score(LABELS, predicted, average=None))
        assert (found[f"{name}_low"] < found[name]).all()
        assert (found[name] < found[f"{name}_high"]).all()


def test_intervals_by_hand() -> None:
    counts = np.diag(np.full(10, 8))
    counts[3, 5] = 2  # recall of 3: 8 of 10; precision of 5: 8 of 10
    found = per_class_table(counts)
    # Wilson's interval for 8 of 10, from its closed form.
    centre, half = (0.8 + 1.96**2 / 20) / (1 + 1.96**2 / 10), 1.96 * (0.016 + 1.96**2 / 400) ** 0.5 / (1 + 1.96**2 / 10)
    for digit, name in (3, "recall"), (5, "precision"):
        row = found.loc[digit]
        assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(
            (0.8, centre - half, centre + half), abs=1e-4
        )
    # Digit 3: 8 of the 10 images that show it or are predicted as it, so F* is 0.8 and F1 is 2 * 0.8 / 1.8.
    assert found.loc[3, "f1"] == pytest.approx(16 / 18)
    assert found.loc[3, "f1_high"] == pytest.approx(2 * (centre + half) / (1 + centre + half), abs=1e-4)


def test_a_digit_without_images_has_no_scores() -> None:
    counts = np.diag(np.full(10, 5))
    counts[7, 7] = 0
    assert per_class_table(counts).loc[7].drop("n").isna().all()


def test_the_interval_of_f1_covers_the_truth_in_95_per_cent() -> None:
    random = np.random.default_rng(0)
    truth = np.array([[85, 15], [10, 890]]) / 1000
    samples = random.multinomial(1000, truth.ravel(), 400).reshape(400, 2, 2)
    wanted = 2 * 85 / (2 * 85 + 15 + 10)
    rows = [per_class_table(np.pad(counts, (0, 8))).loc[0] for counts in samples]
    covered = sum(row["f1_low"] <= wanted <= row["f1_high"] for row in rows)
    assert binom(400, 0.95).ppf(0.0005) <= covered <= binom(400, 0.95).ppf(0.9995)


def test_the_most_frequent_errors_come_first() -> None:
    counts = np.diag(np.full(10, 50))
    counts[4, 9], counts[9, 4], counts[2, 7] = 6, 3, 1
    found = confused_pairs(counts, top=2)
    assert found.to_dict("list") == {"digit": [4, 9], "prediction": [9, 4], "images": [6, 3], "share": [0.6, 0.3]}
    assert counts[4, 4] == 50  # the argument is unchanged
    assert confused_pairs(np.diag(np.full(10, 5))).empty


def test_recall_homogeneity() -> None:
    equal, one_hard = np.diag(np.full(10, 90)), np.diag(np.full(10, 90))
    equal[:, 0] += 10
    equal[0] = [90, 10] + [0] * 8
    assert recall_homogeneity_test(equal) == pytest.approx(1)
    one_hard[5, 5], one_hard[5, 3] = 60, 30
    assert recall_homogeneity_test(one_hard) < 1e-6
    for without_errors in np.diag(np.full(10, 5)), np.zeros((10, 10), int):
        assert recall_homogeneity_test(without_errors) == 1


# --- confidence ---


def confident(*confidences: float) -> np.ndarray:
    """Predict 0 with these probabilities; the rest is that of 1."""
    rows = np.zeros((len(confidences), 10))
    rows[:, 0] = confidences
    rows[:, 1] = 1 - rows[:, 0]
    return rows


def test_risk_and_coverage_by_hand() -> None:
    found = risk_coverage(confident(0.9, 0.6, 0.8, 0.8), [0, 1, 1, 0])
    assert found.to_dict("list") == {
        "threshold": [0.9, 0.8, 0.6],  # the two of 0.8 are predicted together, or not
        "predicted": [1, 3, 4],
        "coverage": [0.25, 0.75, 1.0],
        "errors": [0, 1, 2],
        "risk": [0, pytest.approx(1 / 3), 0.5],
    }


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_each_row_agrees_with_its_threshold(seed: int, accuracy: float) -> None:
    random = np.random.default_rng(seed)
    probabilities = softmax(random.normal(0, 3, (40, 10)).round(1), axis=1)
    labels = np.where(random.random(40) < 0.7, probabilities.argmax(axis=1), random.integers(0, 10, 40))
    curve = risk_coverage(probabilities, labels)
    rows = curve.to_numpy().tolist()
    for threshold, predicted, coverage, errors, _ in rows:
        found = selective_accuracy(threshold, probabilities, labels)
        assert [found.predicted, found.errors, 1 - found.deferred] == pytest.approx([predicted, errors, coverage])
    # scipy's own interval of 90 % has 5 % below it
    enough = [
        threshold
        for threshold, predicted, _, errors, _ in rows
        if binomtest(int(predicted - errors), int(predicted)).proportion_ci(0.9, "exact").low >= accuracy
    ]
    assert threshold_for_accuracy(accuracy, probabilities, labels) == min(enough, default=np.inf)


def test_the_area_by_hand() -> None:
    # The only error is second of three: risks 0, 1/2, 1/3. At best it would be last: 0, 0, 1/3.
    assert risk_coverage_area(confident(0.9, 0.6, 0.8), [0, 0, 1]) == pytest.approx((5 / 18, 1 / 6))
    assert risk_coverage_area(confident(0.9, 0.8, 0.6), [0, 0, 1]) == pytest.approx((1 / 9, 0))
    assert risk_coverage_area(confident(0.9, 0.8), [0, 0]) == (0, 0)
    assert risk_coverage_area(confident(0.9, 0.8), [1, 1]) == (1, 0)


def test_the_area_is_the_mean_of_the_curve_and_of_all_orders_of_equal_confidence() -> None:
    curve = risk_coverage(PROBABILITIES, LABELS)
    area, excess = risk_coverage_area(PROBABILITIES, LABELS)
    assert len(curve) == len(LABELS)  # no two are equal
    assert area == pytest.approx(curve["risk"].mean())
    errors = int(curve["errors"].iloc[-1])
    best = np.repeat([0, 1], [400 - errors, errors]).cumsum() / np.arange(1, 401)
    assert excess == pytest.approx(area - best.mean())
    orders = [np.cumsum(order) / np.arange(1, 5) for order in set(permutations([0, 0, 1, 1]))]
    assert risk_coverage_area(confident(*[0.8] * 4), [0, 1, 0, 1])[0] == pytest.approx(np.mean(orders))


@pytest.mark.parametrize(("n", "goal", "steepness"), [(2000, 0.995, 4), (6000, 0.998, 10), (6000, 0.999, 30)])
def test_a_threshold_misses_its_goal_in_few_of_many_draws(n: int, goal: float, steepness: int) -> None:
    """Simulate a model whose errors, 0.5 %, become the more frequent the less confident it is."""
    random, missed = np.random.default_rng(0), 0
    for _ in range(200):
        doubt = random.random(n)
        wrong = random.random(n) < 0.005 * (steepness + 1) * doubt**steepness
        threshold = threshold_for_accuracy(goal, confident(*(1 - doubt / 2)), wrong.astype(int))
        predicted = 2 * (1 - threshold)  # of new images, this share; the mean of the errors' probability over it:
        missed += np.isfinite(threshold) and 0.005 * predicted**steepness > 1 - goal
    assert missed <= 17  # 8.5 %: 5 %, and what 200 draws can be off. Without the bound, half of them miss it


def test_what_few_images_cannot_show() -> None:
    """Of n images without an error, the bound is 0.05 to the power of 1/n: about 1 - 3 / n."""
    right = confident(*np.full(59, 0.9))
    assert threshold_for_accuracy(0.95, right, np.zeros(59, int)) == pytest.approx(0.9)
    assert threshold_for_accuracy(0.95, right[:58], np.zeros(58, int)) == np.inf


def test_selective_accuracy_by_hand() -> None:
    found = selective_accuracy(0.8, confident(0.9, 0.6, 0.8, 0.8), [0, 1, 1, 0])
    assert (found.n, found.predicted, found.errors, found.deferred) == (4, 3, 1, 0.25)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.accuracy_interval == pytest.approx((0.2077, 0.9385), abs=1e-3)  # R: prop.test(2, 3, correct = FALSE)


def test_a_goal_out_of_reach_defers_all_images() -> None:
    probabilities, labels = confident(0.9, 0.8), [1, 1]
    threshold = threshold_for_accuracy(0.5, probabilities, labels)
    found = selective_accuracy(threshold, probabilities, labels)
    assert (threshold, found.predicted, found.deferred) == (np.inf, 0, 1)
    assert np.isnan(found.accuracy)


def test_needs_no_tensorflow() -> None:
    code = (
        "import sys, numpy as np; from mnist_utils.evaluation import errors, label_errors;"
        "label_errors.rank_doubtful_labels(np.tile(np.eye(10), (5, 1)), np.tile(np.arange(10), 5));"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
