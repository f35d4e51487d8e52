from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances

from mnist_utils.data.datasets import load_dataset
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.evaluation import attribution
    from mnist_utils.training import build
else:
    keras = lazy("keras")
    attribution = lazy("mnist_utils.evaluation.attribution")
    build = lazy("mnist_utils.training.build")


@pytest.fixture(scope="module")
def linear() -> tuple[keras.Model, np.ndarray]:
    """Make a model whose logits are linear in the pixels, so that everything has a closed form."""
    inputs = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(flat))
    weights = np.random.default_rng(0).normal(0, 0.05, (784, 10)).astype(np.float32)
    model.set_weights([weights, np.linspace(-0.2, 0.2, 10, dtype=np.float32)])
    return model, weights


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("digits").x_test[:12]


def test_evidence_in_a_linear_model_is_pixel_times_weight(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, weights = linear
    predicted, others = np.arange(12) % 10, (np.arange(12) + 3) % 10
    found = attribution.integrated_gradients(model, images, predicted, others, steps=3)
    wanted = images.reshape(12, -1) / 255 * (weights[:, predicted] - weights[:, others]).T
    np.testing.assert_allclose(found.reshape(12, -1), wanted, atol=1e-4)


def test_evidence_sums_to_the_difference_of_the_logits(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model("fast")
    found = attribution.integrated_gradients(model, images, np.full(12, 3), np.full(12, 8), steps=64)
    logs = np.log(model.predict(np.concatenate([images, np.zeros_like(images[:1])])[..., None], verbose=0))
    margin = logs[:, 3] - logs[:, 8]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), margin[:-1] - margin[-1], atol=5e-3)
    assert not found[images == 0].any()  # equal to the black reference image


def test_deepfool_on_a_linear_model_goes_straight_to_the_nearest_boundary(linear) -> None:  # type: ignore[no-untyped-def]
    model, weights = linear
    grey = np.random.default_rng(1).integers(
        100, 156, (20, 28, 28), np.uint8
    )  # far from black and white: nothing is clipped
    found = attribution.deepfool(model, grey)
    logits = grey.reshape(20, -1) / 255 @ weights + np.linspace(-0.2, 0.2, 10)
    first = logits.argmax(axis=1)
    slopes = weights.T[None] - weights.T[first][:, None]
    distances = (logits.max(axis=1, keepdims=True) - logits) / np.maximum(np.linalg.norm(slopes, axis=2), 1e-9)
    distances[np.arange(20), first] = np.inf
    assert found.flipped.all()
    np.testing.assert_array_equal(found.predicted, distances.argmin(axis=1))
    np.testing.assert_allclose(found.sizes, distances.min(axis=1), rtol=0.03, atol=2e-3)


def test_deepfool_reports_when_no_flip_was_found(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, _ = linear
    found = attribution.deepfool(model, images, most_steps=0)
    assert not found.flipped.any()
    assert not found.sizes.any()
    np.testing.assert_array_equal(found.images, images)


def test_features_are_of_the_last_layers_input(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model("fast")
    found = attribution.penultimate_features(model, images)
    assert found.shape == (12, 256)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    again = attribution.penultimate_features(model, images[::-1])
    np.testing.assert_allclose(again[::-1], found, atol=1e-6)


def test_nearest_by_features_agrees_with_euclidean_distances() -> None:
    random = np.random.default_rng(0)
    known, queries = random.normal(size=(50, 8)).astype(np.float32), random.normal(size=(6, 8)).astype(np.float32)
    indices, distances = attribution.nearest_by_features(known, queries, 4)
    wanted = euclidean_distances(queries, known)
    np.testing.assert_array_equal(indices, wanted.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=1e-5)


def test_explanations_combine_evidence_neighbours_and_flips(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, _ = linear
    known = load_dataset("digits").x_train[:100], load_dataset("digits").y_train[:100]
    features = attribution.penultimate_features(model, known[0])
    found = attribution.explain_predictions(model, images, np.full(12, 4), np.full(12, 7), (*known, features), k=2)
    assert [(one.predicted, one.other) for one in found] == [(4, 7)] * 12
    flips = attribution.deepfool(model, images)
    indices, _ = attribution.nearest_by_features(features, attribution.penultimate_features(model, images), 2)
    for i, one in enumerate(found):
        np.testing.assert_array_equal(one.image, images[i])
        np.testing.assert_array_equal(one.neighbours, known[0][indices[i]])
        np.testing.assert_array_equal(one.neighbour_labels, known[1][indices[i]])
        assert one.changed_prediction == flips.predicted[i]
        assert one.change == (flips.sizes[i] if flips.flipped[i] else np.inf)
