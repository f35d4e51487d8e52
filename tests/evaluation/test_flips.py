from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mnist_utils.data.datasets import load_dataset
from tests.evaluation.linear import linear_model
from tests.lazy import lazy

if TYPE_CHECKING:
    from mnist_utils.evaluation import flips
else:
    flips = lazy("mnist_utils.evaluation.flips")


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """Make images far from black and white: nothing is clipped."""
    return np.random.default_rng(1).integers(100, 156, (120, 28, 28), np.uint8)


def distances_to_boundaries(images: np.ndarray) -> np.ndarray:
    """Return the distance of each image to the hyperplane of each other class, in white pixels; infinite to its own."""
    _, weights, bias = linear_model()
    logits = images.reshape(len(images), -1) / 255 @ weights + bias
    first = logits.argmax(axis=1)
    slopes = np.linalg.norm(weights.T[None] - weights.T[first][:, None], axis=2)
    distances = (logits.max(axis=1, keepdims=True) - logits) / np.maximum(slopes, 1e-9)
    distances[np.arange(len(images)), first] = np.inf
    return np.asarray(distances)


def test_deepfool_on_a_linear_model_goes_straight_to_the_nearest_boundary(grey: np.ndarray) -> None:
    model, _, _ = linear_model()
    found = flips.deepfool(model, grey)
    distances = distances_to_boundaries(grey)
    assert found.flipped.all()
    far = distances.min(axis=1) > 0.05  # nearer, the change is less than a grey level of most pixels
    np.testing.assert_array_equal(found.predicted[far], distances.argmin(axis=1)[far])
    assert (found.l2_norms >= distances.min(axis=1) * (1 - 1e-4)).all()  # no smaller change flips
    np.testing.assert_allclose(found.l2_norms[far], distances.min(axis=1)[far], rtol=0.05, atol=0.05)


def test_the_images_are_whole_grey_levels_that_flip_and_the_norms_are_theirs(grey: np.ndarray) -> None:
    model, weights, bias = linear_model()
    images = np.concatenate([grey[:10], load_dataset("digits").x_test[:30]])
    found = flips.deepfool(model, images)
    assert found.images.dtype == np.uint8
    assert found.flipped.all()
    before, after = (part.reshape(40, -1) / 255 @ weights + bias for part in (images, found.images))
    assert (before.argmax(axis=1) != after.argmax(axis=1)).all()
    np.testing.assert_array_equal(after.argmax(axis=1), found.predicted)
    moved = (found.images.astype(float) - images).reshape(40, -1)
    np.testing.assert_allclose(found.l2_norms, np.linalg.norm(moved, axis=1) / 255)


def test_norms_of_many_images_are_those_of_deepfool(grey: np.ndarray) -> None:
    model, _, _ = linear_model()
    norms = flips.deepfool(model, grey).l2_norms
    assert norms.shape == (120,)  # more than a batch
    np.testing.assert_allclose(norms[100:], flips.deepfool(model, grey[100:]).l2_norms)
    assert flips.deepfool(model, grey[:0]).l2_norms.shape == (0,)


def test_deepfool_reports_when_no_flip_was_found(grey: np.ndarray) -> None:
    model, _, _ = linear_model()
    found = flips.deepfool(model, grey[:5], most_steps=0)
    assert not found.flipped.any()
    assert np.isinf(found.l2_norms).all()
    np.testing.assert_array_equal(found.images, grey[:5])


@pytest.mark.mnist
def test_changes_of_the_references_mistakes_survive_rounding(mistakes) -> None:  # type: ignore[no-untyped-def]
    model, data, rows, predicted = mistakes
    found = flips.deepfool(model, data.x_test[rows])
    assert found.flipped.mean() > 0.9
    after = np.asarray(model(found.images[..., None].astype(np.float32), training=False)).argmax(axis=1)
    np.testing.assert_array_equal(after != predicted, found.flipped)
    correct = np.setdiff1d(np.arange(100), rows)[:20]
    assert np.median(flips.deepfool(model, data.x_test[correct]).l2_norms) > 5 * np.median(found.l2_norms)
