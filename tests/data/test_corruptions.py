from __future__ import annotations

import math
from itertools import pairwise
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import gaussian
from skimage.transform import AffineTransform, warp

from mnist_utils._support.arrays import Images
from mnist_utils.data import corruptions
from mnist_utils.data.corruptions import MNIST_C, OTHERS, corrupt
from mnist_utils.data.datasets import load_dataset

NAMES = [*MNIST_C, *OTHERS]
AT_RANDOM = {
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "shear",
    "rotate",
    "translate",
    "fog",
    "spatter",
} | {
    "dotted_line",
    "zigzag",
    "occlusion",
}
BLACK = np.zeros((200, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_dataset("digits").x_train[:200]


def dots() -> Images:
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 12:16, 8:10] = 255
    return images


def centre(images: Images) -> NDArray[np.float64]:
    """Return row and column of each image's centre of mass."""
    return np.array([ndimage.center_of_mass(image) for image in images])


def test_has_the_fifteen_corruptions_of_mnist_c() -> None:
    published = "shot_noise impulse_noise glass_blur motion_blur shear scale rotate brightness translate stripe fog spatter"
    assert list(MNIST_C) == [*published.split(), "dotted_line", "zigzag", "canny_edges"]


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'snow'; allowed: shot_noise, .*few_pixels"):
        corrupt(BLACK, "snow")


@pytest.mark.parametrize("name", NAMES)
def test_follows_from_the_seed_and_leaves_its_argument_alone(name: str, digits: Images) -> None:
    before = digits.copy()
    first, again, other = (corrupt(digits, name, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(digits, before)
    np.testing.assert_array_equal(first, again)
    assert first.shape == digits.shape
    assert first.dtype == np.uint8
    assert (first != digits).any(axis=(1, 2)).mean() > 0.95
    assert (first != other).any() == (name in AT_RANDOM)


@pytest.mark.parametrize("name", NAMES)
def test_accepts_a_single_image(name: str, digits: Images) -> None:
    assert corrupt(digits[:1], name).shape == (1, 28, 28)


def test_shot_noise_counts_three_photons_in_white() -> None:
    noisy = corrupt(np.full((200, 28, 28), 255, np.uint8), "shot_noise")
    assert set(np.unique(noisy)) == {0, 85, 170, 255}
    assert (noisy == 0).mean() == pytest.approx(np.exp(-3), abs=0.003)  # Poisson probability of no photon
    assert not corrupt(BLACK, "shot_noise").any()


def test_impulse_noise_changes_17_per_cent_of_the_pixels_half_of_them_to_white() -> None:
    assert (corrupt(BLACK, "impulse_noise") == 255).mean() == pytest.approx(0.085, abs=0.003)
    assert (corrupt(255 - BLACK, "impulse_noise") == 0).mean() == pytest.approx(0.085, abs=0.003)


def test_blurs_keep_the_light_and_spread_it() -> None:
    for name in "glass_blur", "motion_blur":
        blurred = corrupt(dots(), name)
        assert blurred.sum() == pytest.approx(dots().sum(), rel=0.02)
        assert blurred.max() < 255
    leaning = centre(corrupt(dots(), "motion_blur"))[:, 1] - 8.5
    assert (np.abs(leaning) > 1).all()  # to one side
    assert len(set(np.sign(leaning))) == 1


def at_these_numbers(name: str, images: Images, **numbers: ArrayLike) -> NDArray[np.float64]:
    """Corrupt images with these values instead of each random number; return grey levels."""
    random = Mock(**{f"{draw}.side_effect": lambda *a, v=value: np.full(a[-1], v) for draw, value in numbers.items()})
    changed = MNIST_C[name]((images / 255).astype(np.float32), random)
    return np.asarray(np.clip(changed, 0, 1) * 255, np.float64)


def published_glass_blur(image: Images, *, swapped: bool) -> NDArray[np.float64]:
    """Return scikit-image's values with the last axis as channels; each pixel is swapped with that above to the left."""
    image = (gaussian(image / 255, sigma=0.7, channel_axis=-1) * 255).astype(np.uint8)
    for row, column in [(row, column) for row in range(27, 1, -1) for column in range(27, 1, -1)] * 2 * swapped:
        image[row, column], image[row - 1, column - 1] = image[row - 1, column - 1], image[row, column]
    return np.asarray(gaussian(image / 255, sigma=0.7, channel_axis=-1) * 255)


@pytest.mark.parametrize("swapped", [False, True])
def test_glass_blur_is_the_published_one(swapped: bool, digits: Images) -> None:
    # A row down and a column to the right: the loops must reach the last ones, and leave the first ones alone.
    images = np.roll(digits[:20], (8, 8), axis=(1, 2))
    ours = at_these_numbers("glass_blur", images, random=0 if swapped else 1, integers=-1)
    theirs = np.stack([published_glass_blur(image, swapped=swapped) for image in images])
    np.testing.assert_allclose(ours, theirs, atol=1)


def test_glass_blur_smooths_along_the_columns_only() -> None:
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 14, 14] = 255
    smooth = at_these_numbers("glass_blur", dot, random=1, integers=0)[0]
    assert np.flatnonzero(smooth.any(axis=0)).tolist() == [14]
    # The kernel: 0.0001, 0.0096, 0.2054, 0.5698 in the middle. First 2, 52, 145, 52, 2, without fractions; then once more.
    assert smooth[11:18, 14] == pytest.approx([0.9, 13.2, 60.3, 104.0, 60.3, 13.2, 0.9], abs=0.1)


def test_motion_blur_has_the_values_of_imagemagick() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 14, 20] = image[0, 22:, 27] = 255
    blurred = at_these_numbers("motion_blur", image, uniform=20)[0]
    # ImageMagick 6.9.11: convert dot.png -motion-blur 10x3+20 dot-blurred.png; it cuts off fractions.
    by_row = {
        11: {12: 2},
        12: {13: 3, 14: 8, 15: 14},
        13: {16: 24, 17: 36, 18: 47},
        14: {19: 56, 20: 59},
        19: dict.fromkeys(range(19, 28), 2),
        20: {19: 2, 20: 6, 21: 14} | dict.fromkeys(range(22, 28), 29),
        21: {19: 2, 20: 6, 21: 14, 22: 29, 23: 54, 24: 90} | dict.fromkeys(range(25, 28), 138),
    }
    expected = np.zeros((28, 28))
    for row, levels in by_row.items():
        expected[row, list(levels)] = list(levels.values())
    expected[22:, 19:] = 2, 6, 14, 29, 54, 90, 138, 195, 255
    np.testing.assert_allclose(blurred, expected + 0.5, atol=0.51)


@pytest.mark.parametrize("angle", [-45, -33.3, -7, 0, 12.5, 41])
def test_motion_blur_is_a_weighted_mean_along_a_line_of_pixels(angle: float, digits: Images) -> None:
    images = np.roll(digits[:5], (8, 8), axis=(1, 2))  # ink at the edges
    ours = at_these_numbers("motion_blur", images, uniform=angle)
    total, theirs = 0.0, np.zeros(images.shape)
    for step in range(21):
        weight = np.exp(-(step**2) / (2 * 3**2))
        right, down = (np.ceil(step * along - 0.5) for along in (np.cos(np.radians(angle)), np.sin(np.radians(angle))))
        rows, columns = np.clip(np.arange(28) + down, 0, 27).astype(int), np.clip(np.arange(28) + right, 0, 27).astype(int)
        theirs += weight * images[:, rows[:, None], columns]
        total += weight
    np.testing.assert_allclose(ours, theirs / total, atol=0.01)


@pytest.mark.parametrize("sign", [-1, 1])
def test_shear_is_the_published_one(sign: int, digits: Images) -> None:
    # From a pixel to where it came from, as by AffineTransform(shear=...) of scikit-image 0.18.
    shear = np.array([[1, -sign * np.sin(0.4)], [0, np.cos(0.4)]])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = shear, 13.5 - shear @ (13.5, 13.5)
    theirs = np.stack([warp(image / 255, AffineTransform(matrix)) * 255 for image in digits])
    np.testing.assert_allclose(at_these_numbers("shear", digits, choice=sign), theirs, atol=0.01)


def test_geometry_does_what_it_says() -> None:
    moved = centre(corrupt(dots(), "translate")) - (13.5, 8.5)
    assert {tuple(row) for row in moved.round(6).tolist()} == {(a, b) for a in (-3, 3) for b in (-3, 3)}
    turned = centre(corrupt(dots(), "rotate")) - 13.5
    angles = np.arctan2(turned[:, 0], -turned[:, 1])
    assert np.abs(angles) == pytest.approx(np.full(200, 0.4), abs=0.03)
    assert (angles > 0).mean() == pytest.approx(0.5, abs=0.15)
    assert np.hypot(*turned.T) == pytest.approx(np.full(200, 5), abs=0.1)
    square = np.zeros((1, 28, 28), np.uint8)
    square[:, 4:24, 4:24] = 255
    assert corrupt(square, "scale").sum() == pytest.approx(0.49 * square.sum(), rel=0.02)
    bar = np.zeros((50, 28, 28), np.uint8)
    bar[:, 2:4, 13:15] = 255
    assert np.abs(centre(corrupt(bar, "shear"))[:, 1] - 13.5) == pytest.approx(np.full(50, 11 * np.tan(0.4)), abs=0.1)


def test_brightness_stripe_and_inversion_by_hand(digits: Images) -> None:
    np.testing.assert_array_equal(corrupt(digits, "inverted"), 255 - digits)
    np.testing.assert_allclose(corrupt(digits, "brightness"), np.minimum(digits + 127.5, 255), atol=0.5)
    striped = corrupt(digits, "stripe")
    np.testing.assert_array_equal(striped[:, :, 7:21], digits[:, :, 7:21])
    np.testing.assert_array_equal(striped[:, :, :7], 255 - digits[:, :, :7])
    np.testing.assert_array_equal(striped[:, :, 21:], 255 - digits[:, :, 21:])


def test_fog_leaves_a_quarter_of_the_contrast() -> None:
    assert corrupt(255 - BLACK, "fog").astype(int) - corrupt(BLACK, "fog") == pytest.approx(np.full(BLACK.shape, 64), abs=1)
    paper = corrupt(BLACK, "fog")
    assert 60 < paper.mean() < 130
    assert 0 < paper.std(axis=(1, 2)).mean() < paper.mean(axis=(1, 2)).std() * 2  # clouds, wider than the picture


def test_clouds_are_as_strong_at_every_edge() -> None:
    for width in 128, 64, 32, 16, 8, 4, 2, 1:
        weights = corruptions.linear_weights(np.arange(width), width, 28 // width + 3)
        np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-5)
    sky = corrupt(np.zeros((2000, 28, 28), np.uint8), "fog", 3).std(axis=0)
    assert sky.max() / sky.min() < 1.15


def test_spatter_is_grey_drops_that_hide_the_ink() -> None:
    on_black, on_white = corrupt(BLACK, "spatter"), corrupt(255 - BLACK, "spatter")
    assert on_black.max() == pytest.approx(63, abs=1)
    np.testing.assert_array_equal(on_black > 0, on_white < 255)
    assert 0.02 < (on_black > 0).mean() < 0.4


def test_lines_cross_the_image() -> None:
    dotted = corrupt(BLACK, "dotted_line")
    assert not dotted[:, :, 0::4].any()
    assert not dotted[:, :, 1::4].any()
    assert (dotted[:, :, 2::4].max(axis=1) > 150).all()
    zigzag = corrupt(BLACK, "zigzag")
    level = (zigzag.argmax(axis=1)[:, 4:24]).astype(float)  # the row of the line in each column
    inside = (zigzag.max(axis=1)[:, 4:24] > 100).all(axis=1)  # those that do not leave the picture
    assert inside.sum() > 100
    assert (np.ptp(level[inside], axis=1) >= 3).all()
    turns = (np.diff(np.sign(np.diff(level[inside], axis=1)), axis=1) != 0).sum(axis=1)
    assert (turns >= 3).all()


def published_line(ink: NDArray[np.float64], left: float, top: float, right: float, bottom: float) -> None:
    """Add a line to the ink, pixel by pixel, with the published brightness at a distance up or down from it."""
    for column in range(math.floor(left), math.ceil(right)):
        for row in range(28):
            distance = abs(row - (top + (bottom - top) / (right - left) * (column - left)))
            if distance < 2.3:
                ink[row, column] = np.clip(ink[row, column] + max(0, 1 + math.log(1 - distance / 2.3)), 0, 1)


@pytest.mark.parametrize(("left", "right"), [(0, 26), (20, 3), (14, 14)])
def test_dotted_line_is_the_published_one(left: int, right: int) -> None:
    ink = np.zeros((28, 28))
    published_line(ink, 0, left, 27, right)
    ink[:, [*range(0, 28, 4), *range(1, 28, 4)]] = 0
    ours = at_these_numbers("dotted_line", BLACK[:2], integers=np.reshape([left, right], (2, 1, 1)))
    np.testing.assert_allclose(ours, np.stack([ink, ink]) * 255, atol=0.01)


@pytest.mark.parametrize(("start", "rise"), [(14, 0), (0, 4), (26, -5), (12, -1)])
def test_zigzag_is_the_published_one(start: int, rise: int) -> None:
    tilt = math.atan(rise / 23)
    length = 23 / math.cos(tilt)
    level = [(0, 0), (2, 2), (6, -2), (10, 2), (14, -2), (18, 2), (22, -2), (length, -2 / (2 * (length - 20)))]
    turned = [
        (2 + a * math.cos(tilt) - b * math.sin(tilt), start + a * math.sin(tilt) + b * math.cos(tilt)) for a, b in level
    ]
    ink = np.zeros((28, 28))
    for one, next_one in pairwise(turned):
        published_line(ink, *one, *next_one)
    ours = at_these_numbers("zigzag", BLACK[:2], integers=(start, rise))
    np.testing.assert_allclose(ours, np.stack([ink, ink]) * 255, atol=0.01)


def test_canny_edges_are_near_those_of_opencv(digits: Images) -> None:
    ours = corrupt(digits, "canny_edges") > 0
    smooth = np.stack([np.round(ndimage.gaussian_filter(image.astype(float), 1)) for image in digits]).astype(np.uint8)
    theirs = np.stack([cv2.Canny(image, 25.5, 51, L2gradient=True) > 0 for image in smooth])
    near = np.stack([ndimage.binary_dilation(edges, iterations=2) for edges in theirs])
    assert (ours & near).sum() > 0.98 * ours.sum()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.1)


def test_canny_edges_of_a_slanted_stroke_are_those_of_scikit_image_0_18() -> None:
    rows, columns = np.indices((28, 28))
    image = np.clip(255 * (3 - np.abs(columns - 14 - 0.4 * (rows - 14))), 0, 255).astype(np.uint8)
    image[:6] = image[22:] = 0
    edges = corrupt(image[None], "canny_edges")[0] > 0
    # Recorded with the source of its feature.canny, sigma 1: an edge's columns from row 5 on.
    assert [",".join(map(str, np.flatnonzero(row))) for row in edges[5:23]] == [
        *("10,11", "9,10,12,13", "9,13,14", "9,14", "9,10,14,15", "10,15", "10,15", "11,16", "11,16", "11,12,16,17"),
        *("12,17", "12,17", "13,18", "13,18", "13,14,18,19", "14,19", "14,15,16,18", "17"),
    ]
    assert not edges[:5].any()
    assert not edges[23:].any()


def test_occlusion_is_a_black_square() -> None:
    hidden = corrupt(255 - BLACK, "occlusion") == 0
    assert (hidden.sum(axis=(1, 2)) == 64).all()
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    assert (rows.sum(axis=1) == 8).all()
    assert (columns.sum(axis=1) == 8).all()
    assert not rows[:, [0, 1, 2, 3, 24, 25, 26, 27]].any()


def test_pens_are_thicker_and_thinner(digits: Images) -> None:
    assert (corrupt(digits, "thick_pen") >= digits).all()
    assert (corrupt(digits, "thin_pen") <= digits).all()
    line = np.zeros((1, 28, 28), np.uint8)
    line[:, 5:20, 10:13] = 255
    assert (corrupt(line, "thick_pen")[0, 10] > 0).sum() == 5
    assert (corrupt(line, "thin_pen")[0, 10] > 0).sum() == 2


def test_few_pixels_cannot_show_what_is_small() -> None:
    board = np.indices((28, 28)).sum(axis=0) % 2 * np.uint8(255)
    assert corrupt(board[None].astype(np.uint8), "few_pixels").std() < 20


def test_each_corruption_has_random_numbers_of_its_own(digits: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else, corruptions that draw alike would strike the same images alike."""
    drawn, make = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or make(seed))  # type: ignore[func-returns-value]
    for name in MNIST_C | OTHERS:
        corrupt(digits[:2], name, 5)
    assert len(set(map(str, drawn))) == len(MNIST_C | OTHERS)
