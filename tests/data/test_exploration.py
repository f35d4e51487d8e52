from __future__ import annotations

import numpy as np
import pytest

from mnist_utils._support.arrays import Images
from mnist_utils.data import exploration
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.data.sources import SOURCES


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def bar(width: int, *, lean: float = 0) -> Images:
    """Draw a bar of 20 rows, `width` pixels wide, that leans right by `lean` pixels per row."""
    image = np.zeros((28, 28), np.uint8)
    for row in range(4, 24):
        left = round(14 - width / 2 + lean * (13.5 - row))
        image[row, left : left + width] = 255
    return image


# --- counts and pixels ------------------------------------------------------------------------------------


def test_counts_each_digit_in_each_part(digits: Dataset) -> None:
    counts = exploration.class_counts(digits)
    assert counts.sum().to_dict() == {"training": 1293, "validation": 144, "test": 360}
    assert counts.loc[3, "test"] == sum(label == 3 for label in digits.y_test.tolist())


def test_lists_the_published_files_with_their_checksums(digits: Dataset) -> None:
    assert exploration.published_files(digits).empty
    for name, what in ("mnist", "sha256 of the content"), ("kmnist", "md5 of the .gz"):
        other = Dataset(name, *(digits.x_train, digits.y_train) * 3, "", "")
        table = exploration.published_files(other)
        assert table["items"].tolist() == [60_000, 60_000, 10_000, 10_000]
        assert set(table["checksum"]) == {what}
    part = SOURCES["kmnist"].parts[0]
    assert table["value"][0] == part.packed_hash.removeprefix("md5:")


def test_a_sample_has_each_digit_equally_often_and_no_image_twice(digits: Dataset) -> None:
    index = exploration.sample_per_class(digits.y_train, 7, seed=1)
    assert digits.y_train[index].tolist() == np.repeat(range(10), 7).tolist()
    assert len(set(index.tolist())) == 70
    np.testing.assert_array_equal(index, exploration.sample_per_class(digits.y_train, 7, seed=1))
    assert not np.array_equal(index, exploration.sample_per_class(digits.y_train, 7, seed=2))
    assert len(exploration.sample_per_class(digits.y_train, 10_000)) == 1293


def test_mean_and_standard_deviation_of_each_digit() -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    images[:, 5, 6] = 10, 30, 99
    means, stds = exploration.class_mean_and_std(images, np.array([4, 4, 7], np.uint8), 10)
    assert (means[4, 5, 6], stds[4, 5, 6]) == (20, 10)
    assert (means[7, 5, 6], stds[7, 5, 6]) == (99, 0)
    assert np.isnan(means[0]).all()


def test_pixel_statistics_are_those_of_all_pixels(digits: Dataset) -> None:
    found = exploration.pixel_statistics(digits.x_train)
    scaled = digits.x_train.astype(np.float64) / 255
    assert found["mean"] == pytest.approx(scaled.mean(), abs=1e-12)
    assert found["std"] == pytest.approx(scaled.std(), abs=1e-12)
    assert found["black"] == pytest.approx((scaled == 0).mean())
    assert found["white"] == pytest.approx((scaled == 1).mean())
    assert found["black"] + found["white"] + found["grey"] == pytest.approx(1)
    assert found["never used"] == (scaled.sum(axis=0) == 0).sum()


def test_grey_levels_of_more_images_than_a_batch() -> None:
    images = np.zeros((5001, 28, 28), np.uint8)
    images[-1, 0, 0] = 200
    counts = exploration.grey_levels(images)
    assert (counts[0], counts[200], counts.sum()) == (5001 * 784 - 1, 1, 5001 * 784)


def test_placement_measures_the_box_and_the_centre_of_mass() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[3:10, 5] = 100  # seven rows, and once more in the last column of the box
    image[6, 5:9] = 100
    found = exploration.digit_placement(np.stack([image, np.zeros_like(image)]))
    assert (found.loc[0, "height"], found.loc[0, "width"]) == (7, 4)
    assert found.loc[0, "row"] == 6
    assert found.loc[0, "column"] == pytest.approx((7 * 5 + 6 + 7 + 8) / 10)
    assert not found.loc[1].any()


def test_a_shift_moves_right_and_drops_what_leaves_the_image() -> None:
    image = np.arange(784, dtype=np.uint8).reshape(1, 28, 28)
    moved = exploration.shift_images(image, 3)
    np.testing.assert_array_equal(moved[0, :, 3:], image[0, :, :-3])
    assert not moved[0, :, :3].any()
    np.testing.assert_array_equal(exploration.shift_images(image, 0), image)


# --- strokes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3, 4, 6])
def test_thickness_of_a_bar_is_its_width(width: int) -> None:
    upright, lying = exploration.stroke_thickness(np.stack([bar(width), bar(width).T]))
    assert upright == pytest.approx(width, abs=0.35)  # at the ends of the bar the skeleton is nearer to the paper
    assert lying == pytest.approx(width, abs=0.35)


def test_a_blank_image_has_no_thickness() -> None:
    assert np.isnan(exploration.stroke_thickness(np.zeros((1, 28, 28), np.uint8))).all()


@pytest.mark.parametrize("lean", [-0.5, 0, 0.25, 0.5])
def test_slant_is_the_angle_of_the_shear(lean: float) -> None:
    found = exploration.stroke_slant(bar(3, lean=lean)[None])
    assert found[0] == pytest.approx(np.degrees(np.arctan(lean)), abs=0.5)


def test_a_flat_line_and_a_blank_image_have_no_slant() -> None:
    flat = np.zeros((2, 28, 28), np.uint8)
    flat[0, 14, 5:20] = 255
    assert exploration.stroke_slant(flat).tolist() == [0, 0]


def test_evenly_spaced_examples_go_from_the_lowest_to_the_highest() -> None:
    values = np.array([5.0, np.nan, 1, 3, 9, 2])
    labels = np.array([1, 1, 1, 1, 1, 0], np.uint8)
    rows = exploration.evenly_spaced_examples(values, labels, 3)
    assert values[rows[1]].tolist() == [1, 5, 9] or values[rows[1]].tolist() == [1, 3, 9]
    assert [len(row) for row in rows] == [1, 3]
