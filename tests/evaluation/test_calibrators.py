from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from mnist_utils.evaluation import calibrators
from mnist_utils.evaluation.calibration import apply_temperature, count_errors, fit_temperature


def sample(n: int, temperature: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw labels from probabilities, then report these as a model would that is off by a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (n, 5))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)
    return softmax(logits * temperature, axis=1), labels


def test_the_temperature_s_interval_covers_in_95_of_100() -> None:
    covered = 0
    for seed in range(300):
        probabilities, labels = sample(400, 2.0, seed)
        low, high = calibrators.temperature_interval(probabilities, labels, fit_temperature(probabilities, labels))
        covered += low < 2 < high
    assert 0.92 <= covered / 300 <= 0.98


def test_the_interval_agrees_with_the_bootstrap() -> None:
    probabilities, labels = sample(800, 1.5, 0)
    low, high = calibrators.temperature_interval(probabilities, labels, fit_temperature(probabilities, labels))
    random = np.random.default_rng(0)
    draws = [fit_temperature(probabilities[rows], labels[rows]) for rows in random.integers(0, 800, (200, 800))]
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), rel=0.06)


def test_without_an_error_there_is_no_interval() -> None:
    assert np.isnan(calibrators.temperature_interval(np.eye(3) * 0.7 + 0.1, np.arange(3), 1.0)).all()


def test_cross_fitting_uses_the_other_folds_only() -> None:
    probabilities, labels = sample(300, 2.0, 1)
    seen = []

    def spy(some: NDArray[np.float64], _: NDArray[np.intp]) -> calibrators.Calibrated:
        known = {row.tobytes() for row in some}
        seen.append(len(known))
        return lambda other: np.array([[row.tobytes() in known] * 5 for row in other], float)

    assert not calibrators.cross_fit(probabilities, labels, spy, folds=3).any()
    assert seen == [200, 200, 200]


def test_vector_scaling_is_a_logistic_regression_of_the_logits() -> None:
    """On two classes it has one slope and one offset, as scikit-learn's regression on the difference of the logits."""
    random = np.random.default_rng(2)
    logits = random.normal(0, 1, (3000, 2))
    labels = (1 / (1 + np.exp(-(1.7 * (logits[:, 1] - logits[:, 0]) + 0.6))) > random.random(3000)).astype(int)
    found = calibrators.vector_calibrator(softmax(logits, axis=1), labels)(softmax(logits, axis=1))
    features = log_softmax(logits, axis=1)
    expected = LogisticRegression(C=np.inf, tol=1e-8).fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_model_off_by_a_temperature_is_mended_by_one_and_the_table_says_so() -> None:
    probabilities, labels = sample(2000, 3.0, 3)
    table = calibrators.compare_calibrators(probabilities, labels)
    assert list(table.index) == ["none", "temperature", "vector scaling"]
    rows = table.to_dict("index")
    assert rows["temperature"]["high"] < 0
    assert rows["none"]["p"] < 1e-6 < 0.01 < rows["temperature"]["p"]
    best = minimize_scalar(
        lambda t: -log_softmax(np.log(probabilities) / t, axis=1)[np.arange(2000), labels].mean(), bounds=(1, 9)
    )
    assert rows["temperature"]["log loss"] == pytest.approx(best.fun, rel=0.01)
    assert rows["temperature"]["log loss"] > best.fun  # fitted on other images


def test_a_calibrated_model_is_not_made_worse_by_much() -> None:
    probabilities, labels = sample(2000, 1.0, 4)
    change = calibrators.compare_calibrators(probabilities, labels)["change"].to_dict()
    assert abs(change["temperature"]) < 0.002
    assert change["vector scaling"] > change["temperature"]  # more to fit, nothing to find


def test_errors_are_expected_as_the_confidences_say() -> None:
    found = count_errors(np.tile([0.97, 0.03], (100, 1)), np.zeros(100, int))
    assert found.expected == pytest.approx(3)
    assert found.observed == 0
    assert found.p_value == pytest.approx(2 * 0.97**100)
    p_values = []
    for seed in range(200):
        probabilities, labels = sample(500, 1.0, seed)
        p_values.append(count_errors(probabilities, labels).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.09
    probabilities, labels = sample(5000, 1.0, 9)
    sharp = apply_temperature(probabilities, 0.8)
    count = count_errors(sharp, labels)
    doubt = 1 - sharp.max(axis=1)
    z = (count.observed - doubt.sum()) / np.sqrt((doubt * (1 - doubt)).sum())
    assert count.p_value == pytest.approx(2 * norm.sf(z), rel=0.2)


def test_many_errors_are_counted_by_a_normal_distribution() -> None:
    probabilities, labels = sample(20_000, 1.03, 5)
    exact = count_errors(probabilities, labels)
    again = count_errors(np.concatenate([probabilities, [[1.0, 0, 0, 0, 0]]]), np.append(labels, 0))  # adds no doubt
    assert again.p_value == pytest.approx(exact.p_value, rel=0.03)
    assert again.expected == pytest.approx(exact.expected)


def test_the_temperature_of_an_extremely_confident_model_is_found() -> None:
    """Logits a hundred apart, as of a network that takes 0 to 255 where it was trained on 0 to 1: a few errors cost most."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 1000)
    told = np.where(random.random(1000) < 0.98, labels, (labels + 1) % 5)
    logits = random.normal(0, 1, (1000, 5))
    logits[np.arange(1000), told] += random.uniform(30, 60, 1000)
    probabilities = softmax(logits, axis=1)
    shown = np.log(np.maximum(probabilities, 1e-30))

    def loss(temperature: float) -> float:
        return float(-log_softmax(shown / temperature, axis=1)[np.arange(1000), labels].mean())

    best = min((loss(t), t) for t in np.geomspace(0.06, 19, 400))
    assert fit_temperature(probabilities, labels) == pytest.approx(best[1], rel=0.03)


@pytest.mark.parametrize("probabilities", [np.full((4, 5), 0.2), np.eye(5)[[1, 2, 3, 4]]])
def test_where_no_temperature_changes_anything_there_is_no_interval(probabilities: NDArray[np.float64]) -> None:
    assert np.isnan(calibrators.temperature_interval(probabilities, np.array([1, 1, 1, 1]), 1.0)).all()
