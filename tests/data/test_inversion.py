from __future__ import annotations

import numpy as np
import pytest

from mnist_utils.data import inversion
from mnist_utils.data.datasets import Dataset, load_dataset


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def test_preprocessing_undoes_inversion(digits: Dataset) -> None:
    images = digits.x_test[:20]
    normal, inverted = inversion.preprocess_images(images), inversion.preprocess_images(255 - images)
    np.testing.assert_array_equal(normal.images, inverted.images)
    assert not normal.inverted.any()
    assert inverted.inverted.all()
    assert not (normal.refused | inverted.refused).any()
    lit = images.max(axis=(1, 2), keepdims=True)  # preprocessing scales the strongest ink to 255
    np.testing.assert_allclose(normal.images, 255.0 * images / lit, atol=1)


def test_an_image_without_a_digit_is_refused(digits: Dataset) -> None:
    found = inversion.preprocess_images(np.stack([np.full((28, 28), 77, np.uint8), digits.x_test[0]]))
    assert found.refused.tolist() == [True, False]
    assert not found.images[0].any()


def test_half_of_the_training_images_are_inverted_and_nothing_else(digits: Dataset) -> None:
    mixed = inversion.invert_half(digits, seed=3)
    same = (mixed.x_train == digits.x_train).all(axis=(1, 2))
    opposite = (mixed.x_train == 255 - digits.x_train).all(axis=(1, 2))
    assert (same ^ opposite).all()
    assert abs(int(opposite.sum()) - int(same.sum())) <= 1
    assert mixed.x_train.dtype == np.uint8
    for name in "y_train", "x_validation", "y_validation", "x_test", "y_test":
        assert getattr(mixed, name) is getattr(digits, name)
    again, other = inversion.invert_half(digits, seed=3), inversion.invert_half(digits, seed=4)
    np.testing.assert_array_equal(again.x_train, mixed.x_train)
    assert (other.x_train != mixed.x_train).any()
