from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation import attribution
from mnist_utils.training import architectures


@pytest.fixture(scope="module")
def linear() -> tuple[keras.Model, np.ndarray]:
    """Make a network whose logits are linear in the pixels: everything has a closed form."""
    inputs = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(flat))
    weights = np.random.default_rng(0).normal(0, 0.05, (784, 10)).astype(np.float32)
    model.set_weights([weights, np.linspace(-0.2, 0.2, 10, dtype=np.float32)])
    return model, weights


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("digits").x_test[:12]


def test_pixels_of_a_linear_network_count_with_their_weight(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, weights = linear
    answers, others = np.arange(12) % 10, (np.arange(12) + 3) % 10
    found = attribution.integrated_gradients(model, images, answers, others, steps=3)
    wanted = images.reshape(12, -1) / 255 * (weights[:, answers] - weights[:, others]).T
    np.testing.assert_allclose(found.reshape(12, -1), wanted, atol=1e-4)


def test_pixels_of_any_network_make_up_the_difference(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = architectures.build_model("fast")
    answers, others = np.full(12, 3), np.full(12, 8)
    found = attribution.integrated_gradients(model, images, answers, others, steps=64)
    logs = np.log(model.predict(np.concatenate([images, np.zeros_like(images[:1])])[..., None], verbose=0))
    margin = logs[:, 3] - logs[:, 8]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), margin[:-1] - margin[-1], atol=5e-3)
    assert not found[images == 0].any()  # as black as the image it is compared with


def test_least_flip_of_a_linear_network_goes_straight_to_the_nearest_border(linear) -> None:  # type: ignore[no-untyped-def]
    model, weights = linear
    grey = np.random.default_rng(1).integers(
        100, 156, (20, 28, 28), np.uint8
    )  # far from black and white: nothing is cut off
    found = attribution.deepfool(model, grey)
    logits = grey.reshape(20, -1) / 255 @ weights + np.linspace(-0.2, 0.2, 10)
    first = logits.argmax(axis=1)
    slopes = weights.T[None] - weights.T[first][:, None]
    distances = (logits.max(axis=1, keepdims=True) - logits) / np.maximum(np.linalg.norm(slopes, axis=2), 1e-9)
    distances[np.arange(20), first] = np.inf
    assert found.flipped.all()
    np.testing.assert_array_equal(found.answers, distances.argmin(axis=1))
    np.testing.assert_allclose(found.sizes, distances.min(axis=1), rtol=0.03, atol=2e-3)


def test_a_flip_that_is_not_found_is_said(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, _ = linear
    found = attribution.deepfool(model, images, most_steps=0)
    assert not found.flipped.any()
    assert not found.sizes.any()
    np.testing.assert_array_equal(found.images, images)


def test_features_are_what_the_last_layer_reads(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = architectures.build_model("fast")
    found = attribution.penultimate_features(model, images)
    assert found.shape == (12, 256)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    again = attribution.penultimate_features(model, images[::-1])
    np.testing.assert_allclose(again[::-1], found, atol=1e-6)


def test_nearest_by_scikit_learns_distances() -> None:
    random = np.random.default_rng(0)
    known, asked = random.normal(size=(50, 8)).astype(np.float32), random.normal(size=(6, 8)).astype(np.float32)
    indices, distances = attribution.nearest_by_features(known, asked, 4)
    wanted = euclidean_distances(asked, known)
    np.testing.assert_array_equal(indices, wanted.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=1e-5)


def test_explain_puts_all_of_it_together(linear, images) -> None:  # type: ignore[no-untyped-def]
    model, _ = linear
    known = load_dataset("digits").x_train[:100], load_dataset("digits").y_train[:100]
    seen = attribution.penultimate_features(model, known[0])
    found = attribution.explain_predictions(model, images, np.full(12, 4), np.full(12, 7), (*known, seen), k=2)
    assert [(one.answer, one.other) for one in found] == [(4, 7)] * 12
    flips = attribution.deepfool(model, images)
    indices, _ = attribution.nearest_by_features(seen, attribution.penultimate_features(model, images), 2)
    for i, one in enumerate(found):
        np.testing.assert_array_equal(one.image, images[i])
        np.testing.assert_array_equal(one.neighbours, known[0][indices[i]])
        np.testing.assert_array_equal(one.neighbour_labels, known[1][indices[i]])
        assert one.changed_answer == flips.answers[i]
        assert one.change == (flips.sizes[i] if flips.flipped[i] else np.inf)
