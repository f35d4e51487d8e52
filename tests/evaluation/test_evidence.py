from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import spearmanr

from mnist_utils.data.datasets import load_dataset
from tests.evaluation.linear import linear_model
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.evaluation import evidence
    from mnist_utils.training import backend, build
else:
    keras = lazy("keras")
    evidence = lazy("mnist_utils.evaluation.evidence")
    backend = lazy("mnist_utils.training.backend")
    build = lazy("mnist_utils.training.build")

PREDICTED, OTHERS = np.arange(6) % 10, (np.arange(6) + 3) % 10


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("digits").x_test[:6]


@pytest.fixture(scope="module")
def baselines() -> np.ndarray:
    data = load_dataset("digits")
    return evidence.choose_baselines(data.x_train, data.y_train, 10)


def test_baselines_are_spread_over_the_classes() -> None:
    labels = np.array([1, 0, 1, 0, 2, 2, 0, 1, 2])
    pictures = np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    chosen = evidence.choose_baselines(pictures, labels, 3)[:, 0, 0]
    np.testing.assert_array_equal(labels[chosen], [0, 1, 2])
    np.testing.assert_array_equal(np.sort(evidence.choose_baselines(pictures, labels)[:, 0, 0]), np.arange(9))
    data = load_dataset("digits")
    assert evidence.choose_baselines(data.x_train, data.y_train).shape == (20, 28, 28)


def test_evidence_in_a_linear_model_is_difference_times_weight(images: np.ndarray, baselines: np.ndarray) -> None:
    model, weights, bias = linear_model()
    found = evidence.integrated_gradients(model, images, PREDICTED, OTHERS, baselines)
    directions = (weights[:, PREDICTED] - weights[:, OTHERS]).T
    moved = (images.reshape(6, -1) - baselines.mean(axis=0).reshape(-1)) / 255
    np.testing.assert_allclose(found.pixels.reshape(6, -1), moved * directions, atol=1e-4)
    of_bias = bias[PREDICTED] - bias[OTHERS]
    np.testing.assert_allclose(found.margins, (images.reshape(6, -1) / 255 * directions).sum(axis=1) + of_bias, atol=1e-3)
    np.testing.assert_allclose(
        found.baseline_margins, directions @ baselines.mean(axis=0).reshape(-1) / 255 + of_bias, atol=1e-3
    )
    np.testing.assert_allclose(found.completeness_errors, 0, atol=1e-3)  # exact, up to float32


def test_a_missing_stroke_counts() -> None:
    model, weights, _ = linear_model()
    stroke = np.zeros((1, 28, 28), np.uint8)
    stroke[0, 10] = 255
    black = np.zeros_like(stroke)
    found = evidence.integrated_gradients(model, black, [3], [8], np.concatenate([stroke, black]))
    wanted = -(weights[:, 3] - weights[:, 8]).reshape(28, 28)[10] / 2
    np.testing.assert_allclose(found.pixels[0, 10], wanted, atol=1e-5)
    assert not np.delete(found.pixels[0], 10, axis=0).any()


def test_the_completeness_error_is_what_the_sum_lacks(images: np.ndarray, baselines: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model("fast")
    found = evidence.integrated_gradients(model, images, np.full(6, 3), np.full(6, 8), baselines)
    logs = np.log(model.predict(np.concatenate([images, baselines])[..., None], verbose=0))
    margins = logs[:, 3] - logs[:, 8]
    np.testing.assert_allclose(found.margins, margins[:6], atol=1e-4)
    np.testing.assert_allclose(found.baseline_margins, margins[6:].mean(), atol=1e-4)
    missing = found.pixels.sum(axis=(1, 2)) - (margins[:6] - margins[6:].mean())
    np.testing.assert_allclose(found.completeness_errors, missing, atol=1e-4)
    assert np.abs(missing).max() < 0.01


@pytest.mark.mnist
def test_the_completeness_error_of_the_reference_is_small(mistakes) -> None:  # type: ignore[no-untyped-def]
    model, data, rows, predicted = mistakes
    chosen = evidence.choose_baselines(data.x_train, data.y_train)
    found = evidence.integrated_gradients(model, data.x_test[rows], predicted, data.y_test[rows], chosen)
    wanted = np.abs(found.margins - found.baseline_margins)
    assert np.median(np.abs(found.completeness_errors) / wanted) < 0.02
    assert np.abs(found.completeness_errors).max() < 0.15
    assert np.abs(found.baseline_margins).max() < 0.5


def test_a_baseline_is_needed(images: np.ndarray) -> None:
    model, _, _ = linear_model()
    with pytest.raises(ValueError, match="at least one baseline"):
        evidence.integrated_gradients(model, images, PREDICTED, OTHERS, images[:0])


def test_agreement_with_fresh_weights_is_the_rank_correlation(images: np.ndarray, baselines: np.ndarray) -> None:
    model, weights, _ = linear_model()
    found = evidence.agreement_with_fresh_weights(model, images, PREDICTED, OTHERS, baselines, seed=5)
    np.testing.assert_array_equal(model.get_weights()[0], weights)
    with backend.seeded(5):
        fresh = keras.models.clone_model(model).get_weights()[0]
    moved = (images.reshape(6, -1) - baselines.mean(axis=0).reshape(-1)) / 255
    one, two = (moved * (w[:, PREDICTED] - w[:, OTHERS]).T for w in (weights, fresh))
    of = (images[:, None] != baselines).any(axis=1).reshape(6, -1)
    for i in range(6):
        assert found.signed[i] == pytest.approx(spearmanr(one[i, of[i]], two[i, of[i]]).statistic, abs=2e-3)
        wanted = spearmanr(np.abs(one[i, of[i]]), np.abs(two[i, of[i]])).statistic
        assert found.absolute[i] == pytest.approx(wanted, abs=2e-3)


def test_evidence_that_ignores_what_was_learned_fails_the_sanity_check(
    images: np.ndarray, baselines: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, _ = linear_model()
    monkeypatch.setattr(keras.models, "clone_model", lambda of: of)
    found = evidence.agreement_with_fresh_weights(model, images, PREDICTED, OTHERS, baselines)
    np.testing.assert_allclose([found.absolute, found.signed], 1)
    assert np.isnan(evidence.agreement_with_fresh_weights(model, images, PREDICTED, PREDICTED, baselines).signed).all()
