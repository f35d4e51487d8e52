from __future__ import annotations

import numpy as np
import pytest

from mnist_utils._support.arrays import Images
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


def random_images(n: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), np.uint8)


def test_contrast_goes_from_upright_over_one_grey_to_inverted() -> None:
    x = random_images()
    np.testing.assert_array_equal(inversion.set_contrast(x, 1), x)
    np.testing.assert_array_equal(inversion.set_contrast(x, -1), 255 - x)
    assert np.unique(inversion.set_contrast(x, 0)).size == 1
    black_and_white = np.array([[[0, 255]]], np.uint8)
    assert inversion.set_contrast(black_and_white, 0.5).tolist() == [[[64, 191]]]
    assert inversion.set_contrast(black_and_white, -0.5).tolist() == [[[191, 64]]]


def test_only_the_right_half_is_inverted() -> None:
    x = random_images()
    changed = inversion.invert_right_half(x)
    np.testing.assert_array_equal(changed[..., :14], x[..., :14])
    np.testing.assert_array_equal(changed[..., 14:], 255 - x[..., 14:])
    np.testing.assert_array_equal(x, random_images())  # not in place


def test_a_tight_crop_fills_the_image_and_keeps_the_aspect() -> None:
    x = np.zeros((3, 28, 28), np.uint8)
    x[0, 3:13, 20:25] = 255  # 10 high, 5 wide, in a corner
    x[1, 9:11, 4:24] = 200  # 2 high, 20 wide
    x[2, 5, 5] = 20  # no ink, but not quite black
    given = x.copy()
    cropped = inversion.crop_tightly(x)
    high, wide = (np.argwhere(image) for image in cropped[:2])
    assert [*high.min(axis=0), *high.max(axis=0)] == [0, 7, 27, 20]
    assert [*wide.min(axis=0), *wide.max(axis=0)] == [12, 0, 14, 27]  # 2.8 is rounded to 3 rows
    assert (cropped[0, :, 7:21] == 255).all()
    assert (cropped[1, 12:15] == 200).all()
    np.testing.assert_array_equal(cropped[2], x[2])
    np.testing.assert_array_equal(x, given)


def test_the_reader_undoes_tones_and_crops_but_not_two_polarities(digits: Dataset) -> None:
    x = digits.x_test[:20]
    found = {"upright": x, "inverted": 255 - x, "low contrast": inversion.set_contrast(x, 0.3)}
    found |= {"grey paper": inversion.set_contrast(x, -0.5), "half inverted": inversion.invert_right_half(x)}
    read = {name: inversion.preprocess_images(images) for name, images in found.items()}
    far = {name: np.abs(read[name].images.astype(int) - read["upright"].images).mean() for name in found}
    assert max(far[name] for name in ("inverted", "low contrast", "grey paper")) < 3
    assert far["half inverted"] > 20
    assert not read["low contrast"].inverted.any()
    assert read["grey paper"].inverted.all()
