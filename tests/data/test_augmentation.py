from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from mnist_utils._support.arrays import Images
from mnist_utils.data import augmentation
from mnist_utils.data.augmentation import AUGMENTATIONS, augment
from mnist_utils.data.datasets import load_dataset

KINDS = AUGMENTATIONS
LABELS = np.arange(600, dtype=np.uint8) % 10  # for `pictures`


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_dataset("digits").x_train[:600]  # more than are changed at once


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_follows_from_the_seed_and_leaves_its_argument_alone(kind: str, digits: Images) -> None:
    before = digits.copy()
    first, again, other = (augment(digits, kind, random(seed), labels=LABELS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(digits, before)
    np.testing.assert_array_equal(first, again)
    assert first.shape == digits.shape
    assert first.dtype == np.uint8
    assert (first != other).any() == (kind != "none")
    assert (first == digits).all() == (kind == "none")


@pytest.mark.parametrize("kind", KINDS)
def test_images_do_not_affect_each_other(kind: str, digits: Images) -> None:
    neighbours = digits.copy()
    neighbours[1::2] = 255
    np.testing.assert_array_equal(
        augment(digits, kind, random(), labels=LABELS)[::2], augment(neighbours, kind, random(), labels=LABELS)[::2]
    )


def test_pictures_only_shifts_three_in_ten_images_and_draws_or_tones_the_others(digits: Images) -> None:
    rolls = [np.roll(digits, (row, column), (1, 2)) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    made = augment(digits, "pictures", random(), labels=LABELS)
    kept = np.any([(made == roll).all(axis=(1, 2)) for roll in rolls], axis=0)
    assert kept.mean() == pytest.approx(0.45 * 0.7, abs=0.05)
    with pytest.raises(ValueError, match="labels"):
        augment(digits, "pictures", random())


def test_shift_is_one_of_nine_rolls(digits: Images) -> None:
    rolls = [np.roll(digits, (row, column), (1, 2)) for row in (-1, 0, 1) for column in (-1, 0, 1)]  # margins are black
    same = np.array([(augment(digits, "shift", random()) == roll).all(axis=(1, 2)) for roll in rolls])
    assert same.any(axis=0).all()
    assert same.mean(axis=1) == pytest.approx(np.full(9, 1 / 9), abs=0.04)


def test_affine_moves_a_dot_but_not_far() -> None:
    dot = np.zeros((500, 28, 28), np.uint8)
    dot[:, 12:16, 12:16] = 200
    moved = augment(dot, "affine", random())
    weight = moved.sum(axis=(1, 2))
    centres = np.stack([moved.sum(axis=2) @ np.arange(28), moved.sum(axis=1) @ np.arange(28)]) / weight
    assert np.abs(centres - 13.5).max() < 3.5  # a shift of 2.5 before scale and rotation
    assert centres.std() > 1
    # Scaling by 0.9 to 1.1 each way changes the mass by that much at most.
    assert 0.75 < (weight / dot[0].sum()).min() < 0.95
    assert 1.05 < (weight / dot[0].sum()).max() < 1.3


class Fixed:
    """Returns the given values, in order: the angle, the shear, the scales, the shifts."""

    def __init__(self, *values: Any) -> None:
        self._values = list(values)

    def uniform(self, low: float, high: float, size: Any) -> Any:
        value = self._values.pop(0)
        assert (low <= np.array(value)).all()
        assert (np.array(value) <= high).all()
        return np.broadcast_to(np.array(value, float).T, size) if np.ndim(value) else np.full(size, float(value))


def test_affine_with_neutral_values_keeps_the_image() -> None:
    images = random().integers(0, 256, (3, 28, 28), dtype=np.uint8)
    neutral = Fixed(0, 0, 1, 0)
    np.testing.assert_array_equal(augment(images, "affine", neutral), images)  # type: ignore[arg-type]


def test_affine_agrees_with_scipy() -> None:
    rows, columns = np.mgrid[:28, :28]
    blob = 200 * np.exp(-((rows - 12) ** 2 / 20 + (columns - 14) ** 2 / 30))
    angle, shear, scales, shifts = np.deg2rad(11), 0.15, (0.92, 1.07), (1.5, -2.0)
    fixed = Fixed(11, shear, [scales], [shifts])
    ours = augment(blob.round().astype(np.uint8)[None], "affine", fixed)[0]  # type: ignore[arg-type]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of (row, column)
    skew = np.array([[1, 0], [shear, 1]])
    # From output to input: skew, then turn, then scale, about the centre; then shift.
    matrix = np.diag(1 / np.array(scales[::-1])) @ turn @ skew
    offset = 13.5 + np.array(shifts[::-1]) - matrix @ [13.5, 13.5]
    expected = ndimage.affine_transform(blob, matrix, offset, order=3)
    np.testing.assert_allclose(ours, expected, atol=4)


def test_elastic_bends_by_about_a_pixel_and_smoothly() -> None:
    bends = augmentation.sample_bends(400, random())
    assert 0.6 < bends.std() < 1.2
    assert np.abs(bends).max() < 6
    assert np.abs(np.diff(bends, axis=2)).max() < 1  # else strokes would fold over themselves
    assert np.abs(np.diff(bends, axis=3)).max() < 1
    assert abs(float(np.corrcoef(bends[0].ravel(), bends[1].ravel())[0, 1])) < 0.05
    apart = np.corrcoef(bends[0, :, 2, 2], bends[0, :, 25, 25])[0, 1]
    near = np.corrcoef(bends[0, :, 2, 2], bends[0, :, 3, 3])[0, 1]
    assert abs(apart) < 0.2 < 0.9 < near


def test_erase_blackens_a_rectangle_in_every_other_image() -> None:
    white = np.full((2000, 28, 28), 255, np.uint8)
    augmentation.erase(white, random())
    erased = white == 0
    share = erased.any(axis=(1, 2)).mean()
    assert share == pytest.approx(0.5, abs=0.04)
    for image in erased[erased.any(axis=(1, 2))]:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert image.sum() == len(rows) * len(columns)
        assert 3 <= len(rows) <= 9
        assert 3 <= len(columns) <= 9


def test_contrast_keeps_ink_brighter_than_paper() -> None:
    halves = np.zeros((600, 28, 28), np.uint8)
    halves[:, :, 14:] = 255
    toned = augmentation.change_tones(halves, random(), invert=False)
    paper, ink = toned[:, 0, 0].astype(int), toned[:, 0, -1].astype(int)
    assert (ink - paper).min() >= 0.15 * 255 - 1
    assert ((ink == 255) & (paper == 0)).mean() == pytest.approx(0.57, abs=0.06)  # 0.4, and those too near each other
    assert (paper > 30).mean() > 0.2


def test_polarity_inverts_half_and_may_leave_no_more_than_outlines() -> None:
    greys = np.zeros((2000, 28, 28), np.uint8)
    greys[:, :, 9:], greys[:, :, 18:] = 128, 255
    toned = augmentation.change_tones(greys, random(), invert=True).astype(int)
    paper, edge, ink = toned[:, 0, 0], toned[:, 0, 10], toned[:, 0, -1]
    assert (ink > paper).mean() == pytest.approx(0.5, abs=0.04)
    assert np.ptp([paper, edge, ink], axis=0).min() >= 0.3 * 255 - 2
    assert 0.02 < ((np.abs(ink - paper) < 25) & (np.abs(edge - ink) > 60)).mean() < 0.2


def test_covers_are_rectangles_of_grey_noise_or_the_inverse() -> None:
    plain = np.full((3000, 28, 28), 77, np.uint8)
    covered = plain.copy()
    augmentation.cover(covered, random(), augmentation.COVERS["polarity"], largest=196)
    changed = covered != 77
    inverse = (changed & (covered == 178)).any(axis=(1, 2)) & (np.where(changed, covered, 178) == 178).all(axis=(1, 2))
    assert inverse.mean() == pytest.approx(0.1, abs=0.03)
    flat = np.array([len(np.unique(image[where])) == 1 for image, where in zip(covered, changed, strict=True)])
    assert flat.mean() == pytest.approx(0.45, abs=0.06)
    for where in changed[flat][:200]:  # filled to its bounds
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        assert where.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    augmentation.cover(unlike := plain.copy(), random(), augmentation.COVERS["contrast"], largest=196)
    inverted = [(np.unique(image[image != 77]) == [178]).all() and (image != 77).any() for image in unlike]
    assert np.mean(inverted) < 0.01  # a grey that happens to be that one


def test_bars_are_thin_and_small_and_in_four_of_ten_images() -> None:
    bars = np.full((3000, 28, 28), 77, np.uint8)
    augmentation.cover(bars, random(), augmentation.BARS, largest=40)
    changed = bars != 77
    heights, widths = changed.any(axis=2).sum(axis=1), changed.any(axis=1).sum(axis=1)
    sizes = (heights * widths)[heights > 0]
    assert np.array_equal(heights * widths, changed.sum(axis=(1, 2)))
    assert len(sizes) / 3000 == pytest.approx(0.4, abs=0.05)
    assert np.quantile(sizes, 0.99) <= 50  # rounding to whole pixels adds some
    assert 0.2 < np.mean(np.maximum(heights, widths)[heights > 0] >= 4 * np.minimum(heights, widths)[heights > 0]) < 0.6
