from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss

from mnist_utils.evaluation.calibration import (
    apply_temperature,
    calibration_error_interval,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
from mnist_utils.evaluation.metrics import compute_metrics, edit_distance
from mnist_utils.evaluation.statistics import format_p_value, holm_correction, mcnemar_test, wilson_interval

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.full(10, 0.3), 500).astype(np.float32)
LABELS = np.where(RANDOM.random(500) < 0.7, PROBABILITIES.argmax(axis=1), RANDOM.integers(0, 10, 500)).astype(np.uint8)


def test_agrees_with_scikit_learn() -> None:
    found = compute_metrics(PROBABILITIES, LABELS)
    predicted = PROBABILITIES.argmax(axis=1)
    assert found.n == 500
    assert found.accuracy == accuracy_score(LABELS, predicted)
    exact = PROBABILITIES.astype(np.float64)
    assert found.log_loss == pytest.approx(log_loss(LABELS, exact / exact.sum(axis=1, keepdims=True)))
    assert [row.f1 for row in found.per_class] == pytest.approx(f1_score(LABELS, predicted, average=None).tolist())


def test_by_hand() -> None:
    probabilities = np.zeros((4, 10))
    probabilities[[0, 1, 2, 3], [3, 3, 5, 5]] = 1
    found = compute_metrics(probabilities, np.array([3, 5, 5, 5]))
    assert found.accuracy == 0.75
    assert found.confusion_matrix[5][3] == 1
    assert found.confusion_matrix[5][5] == 2
    assert sum(map(sum, found.confusion_matrix)) == 4
    three, five = found.per_class[3], found.per_class[5]
    assert (three.precision, three.recall, three.n) == (0.5, 1.0, 1)
    assert (five.precision, five.recall, five.n) == (1.0, 2 / 3, 3)
    assert found.per_class[0].n == 0  # a digit without images is no error


def test_shapes_that_do_not_match_are_an_error() -> None:
    with pytest.raises(ValueError, match="for 5 labels"):
        compute_metrics(PROBABILITIES, LABELS[:5])
    with pytest.raises(ValueError, match="n > 0"):
        compute_metrics(PROBABILITIES[:0], LABELS[:0])


@settings(derandomize=True)
@given(st.integers(1, 20_000), st.floats(0, 1))
def test_wilson_interval_is_the_closed_form(n: int, share: float) -> None:
    successes = round(share * n)
    z, p = 1.959963984540054, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = wilson_interval(successes, n)
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)


def test_expected_calibration_error_by_hand() -> None:
    probabilities = np.full((4, 10), 0.0)
    probabilities[:, 0] = [0.9, 0.9, 0.6, 0.6]
    probabilities[:, 1] = [0.1, 0.1, 0.4, 0.4]
    # Bin of 0.9: one of two correct, gap 0.4. Bin of 0.6: both correct, gap 0.4.
    assert expected_calibration_error(probabilities, [0, 1, 0, 0]) == pytest.approx(0.4)
    # Bin of 0.9: both correct, gap 0.1. Bin of 0.6: one of two, gap 0.1.
    assert expected_calibration_error(probabilities, [0, 0, 0, 1]) == pytest.approx(0.1)


def test_expected_calibration_error_includes_the_upper_edge_of_a_bin() -> None:
    probabilities = np.zeros((2, 10))
    probabilities[:, 0] = [0.5, 0.75]
    # With four bins, 0.5 and 0.75 are upper edges: the gaps, 0.5 and -0.75, stay apart and do not cancel.
    assert expected_calibration_error(probabilities, [0, 1], bins=4) == pytest.approx(0.625)


def test_reliability_bins_by_hand() -> None:
    probabilities = np.zeros((5, 10))
    probabilities[:, 0] = [0.9, 1.0, 0.8, 0.55, 0.6]
    found = reliability_bins(probabilities, [0, 0, 1, 1, 0], bins=5)
    assert found.n.tolist() == [0, 0, 2, 1, 2]  # 0.8 and 0.6 are upper edges
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.575, 0.8, 0.95])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 0.5, 0, 1])


def test_certain_and_correct_predictions_are_calibrated() -> None:
    assert expected_calibration_error(np.eye(10), np.arange(10)) == 0


@pytest.mark.parametrize("temperature", [0.5, 1, 3])
def test_a_temperature_divides_the_logits(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (50, 10))
    np.testing.assert_allclose(
        apply_temperature(softmax(logits, axis=1), temperature), softmax(logits / temperature, axis=1)
    )


def test_a_temperature_of_certain_predictions_gives_no_nan() -> None:
    np.testing.assert_allclose(apply_temperature(np.eye(10), 2), np.eye(10), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_fitting_recovers_the_applied_temperature(temperature: float) -> None:
    random = np.random.default_rng(0)
    calibrated = softmax(random.normal(0, 2, (5000, 10)), axis=1)
    labels = np.array([random.choice(10, p=row) for row in calibrated])
    miscalibrated = apply_temperature(calibrated, 1 / temperature)
    found = fit_temperature(miscalibrated, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(apply_temperature(miscalibrated, found), labels) < 0.02


def outcomes(*counts: tuple[bool, bool, int]) -> tuple[np.ndarray, np.ndarray]:
    rows = [(a, b) for a, b, n in counts for _ in range(n)]
    return np.array([a for a, _ in rows]), np.array([b for _, b in rows])


def test_mcnemar_is_a_sign_test_on_the_discordant_pairs() -> None:
    found = mcnemar_test(*outcomes((True, True, 80), (True, False, 2), (False, True, 10), (False, False, 8)))
    assert (found.n, found.only_a, found.only_b) == (100, 2, 10)
    assert found.difference == pytest.approx(0.08)
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # P(at most 2 heads in 12), twice
    low, high = found.difference_interval
    assert low < 0.08 < high


def test_interval_of_the_paired_difference_is_bonett_and_price() -> None:
    found = mcnemar_test(*outcomes((True, True, 80), (True, False, 2), (False, True, 10), (False, False, 8)))
    p12, p21 = 11 / 102, 3 / 102
    half = 1.959964 * ((p12 + p21 - (p12 - p21) ** 2) / 102) ** 0.5
    assert found.difference_interval == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=1e-6)


def test_equal_classifiers_do_not_differ() -> None:
    a, b = outcomes((True, True, 90), (False, False, 10))
    assert mcnemar_test(a, b).p_value == 1


def test_comparison_needs_the_same_images() -> None:
    with pytest.raises(ValueError, match="the same images"):
        mcnemar_test(np.array([True]), np.array([True, False]))


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 and 0.04 * 1, neither of which may be less than what came before.
    assert holm_correction([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm_correction([0.9, 0.6]).tolist() == [1, 1]
    assert holm_correction([0.2]).tolist() == [0.2]
    assert holm_correction([]).tolist() == []


@settings(derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_none_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm_correction(p_values)
    assert (corrected >= p_values).all()
    assert (corrected <= np.minimum(1, np.array(p_values) * len(p_values))).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()


def test_calibration_error_interval_covers_the_truth() -> None:
    # Confidence 0.6 or 0.9, correct in 0.7 and 0.85 of the cases: the true error is 0.075.
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        high_confidence = random.random(400) < 0.5
        confidence = np.where(high_confidence, 0.9, 0.6)
        probabilities = np.full((400, 10), ((1 - confidence) / 9)[:, None])
        probabilities[:, 0] = confidence
        labels = (random.random(400) >= np.where(high_confidence, 0.85, 0.7)).astype(int)
        low, high = calibration_error_interval(probabilities, labels)
        covered += low <= 0.075 <= high
    assert covered >= 51


@pytest.mark.parametrize("error", [0.0, 0.01])
def test_calibration_error_interval_covers_the_truth_near_zero(error: float) -> None:
    # Nearly all predictions are nearly certain, as on MNIST.
    covered = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        confidence = 1 - random.beta(0.3, 12, 1000) * 0.9
        probabilities = np.full((1000, 10), ((1 - confidence) / 9)[:, None])
        probabilities[:, 0] = confidence
        labels = (random.random(1000) >= confidence - error).astype(int)
        low, high = calibration_error_interval(probabilities, labels)
        covered += low <= error <= high
        assert low <= expected_calibration_error(probabilities, labels) <= high
    assert covered >= 35


def test_calibration_error_interval_of_perfect_predictions_is_zero() -> None:
    perfect = np.eye(10)[np.arange(50) % 10]
    assert calibration_error_interval(perfect, np.arange(50) % 10) == (0, 0)


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("", "", 0), ("12", "", 2), ("123", "13", 1), ("2026", "2062", 2), ("19", "79", 1)]
)
def test_edit_distance(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == distance


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "p < 0.001"), (1e-300, "p < 0.001"), (0.00123, "p = 0.0012"), (0.05, "p = 0.05"), (1.0, "p = 1")]
)
def test_a_p_value_is_never_written_as_nothing(p: float, text: str) -> None:
    assert format_p_value(p) == text
