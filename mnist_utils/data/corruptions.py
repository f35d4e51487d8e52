"""Corruptions of images that a model should tolerate: by name, reproducible by seed, never used in training.

The fifteen corruptions of MNIST-C are reimplemented here from the authors' code, with their strengths. They include what
the libraries of that time did on the way: glass blur smooths up and down only, and shear makes the image higher. Only the
clouds of fog are merely alike. The random numbers are our own, so the pixels differ from the published files: compare with
published numbers only roughly. Augmentation makes similar changes (it also turns, shifts and inverts), but with its own
functions.

References
----------
Mu and Gilmer (2019), MNIST-C: A robustness benchmark for computer vision. ICML workshop on uncertainty and robustness.
Its code: https://github.com/google-research/mnist-c, corruptions.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images

Floats = NDArray[np.float32]
Corruption = Callable[[Floats, np.random.Generator], Floats]

_SIDE = 28
_CENTRE = (_SIDE - 1) / 2


def corrupt(x: Images, name: str, seed: int = 0) -> Images:
    """Corrupt each image.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
    name : str
        A key of `MNIST_C` or of `OTHERS`.
    seed : int
        The same seed gives the same images; each corruption has its own random numbers.

    Returns
    -------
    uint8 array, shape (n, 28, 28)

    Raises
    ------
    ValueError
        If there is no corruption of that name.
    """
    known = MNIST_C | OTHERS
    if name not in known:
        raise ValueError(f"corruption: given {name!r}; allowed: {', '.join(known)}")
    random = np.random.default_rng((seed, zlib.crc32(name.encode())))
    return change_floats(x, lambda floats: known[name](floats, random))


def change_floats(x: Images, change: Callable[[Floats], Floats]) -> Images:
    """Change images as numbers from 0 to 1; what comes out beyond these is cut off."""
    changed = change((x / 255).astype(np.float32))
    return np.asarray(np.clip(changed, 0, 1) * 255).round().astype(np.uint8)


# --- noise and blur ---------------------------------------------------------------------------------------


def _shot_noise(x: Floats, random: np.random.Generator) -> Floats:
    photons = 3  # expected for a white pixel
    return (random.poisson(x * photons) / photons).astype(np.float32)


def _impulse_noise(x: Floats, random: np.random.Generator) -> Floats:
    struck, white = random.random(x.shape) < 0.17, random.random(x.shape) < 0.5
    return np.where(struck, white.astype(np.float32), x)


def _glass_blur(x: Floats, random: np.random.Generator) -> Floats:
    # The published code passes the image's columns as colour channels, which are not mixed, and rounds down in between.
    grey = np.floor(_gaussian(x, 0.7, axes=(1,)) * 255)
    x, images = (grey / 255).astype(np.float32), np.arange(len(x))
    for _ in range(2):
        for row in range(_SIDE - 1, 1, -1):
            for column in range(_SIDE - 1, 1, -1):
                swap = images[random.random(len(x)) < 0.5]
                to_row, to_column = row + random.integers(-1, 1, len(swap)), column + random.integers(-1, 1, len(swap))
                here = x[swap, row, column]
                x[swap, row, column] = x[swap, to_row, to_column]
                x[swap, to_row, to_column] = here
    return _gaussian(x, 0.7, axes=(1,))


def _motion_blur(x: Floats, random: np.random.Generator) -> Floats:
    radius, sigma = 10, 3
    # ImageMagick's kernel of that radius begins at the pixel and goes as far to one side as it is wide.
    reach = 2 * radius
    steps = np.arange(reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    blurred = np.empty_like(x)
    for i, angle in enumerate(np.deg2rad(random.uniform(-45, 45, len(x)))):
        down, right = (np.ceil(steps * along - 0.5).astype(int) for along in (np.sin(angle), np.cos(angle)))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        np.add.at(kernel, (reach + down, reach + right), weights)  # two steps can reach the same pixel
        blurred[i] = cv2.filter2D(x[i], -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _gaussian(x: Floats, sigma: float, axes: tuple[int, ...] = (1, 2)) -> Floats:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(x, sigma, axes=axes, mode="nearest"), np.float32)


# --- geometry ---------------------------------------------------------------------------------------------


def _shear(x: Floats, random: np.random.Generator) -> Floats:
    slant, height = np.tan(0.4), 1 / np.cos(0.4)  # scikit-image of that time made the image higher as it slanted it
    return _warp(x, [[[1, sign * slant], [0, height]] for sign in _signs(len(x), random)])


def _rotate(x: Floats, random: np.random.Generator) -> Floats:
    cos, sin = np.cos(0.4), np.sin(0.4)  # 23 degrees
    return _warp(x, [[[cos, sign * sin], [-sign * sin, cos]] for sign in _signs(len(x), random)])


def _zoom(x: Floats, _: np.random.Generator) -> Floats:
    return _warp(x, [[[0.7, 0], [0, 0.7]]] * len(x))


def _translate(x: Floats, random: np.random.Generator) -> Floats:
    by = 3 * np.stack([_signs(len(x), random), _signs(len(x), random)], axis=1)
    return _warp(x, [[[1, 0], [0, 1]]] * len(x), by)


def _signs(n: int, random: np.random.Generator) -> NDArray[np.int64]:
    return random.choice([-1, 1], n)


def _warp(x: Floats, matrices: list[list[list[float]]], by: NDArray[np.int64] | None = None) -> Floats:
    """Map each image by its 2x2 matrix about its centre, then move it `by` pixels (n, 2) right and down."""
    warped = np.empty_like(x)
    for i, matrix in enumerate(np.array(matrices)):
        moved = np.full(2, _CENTRE) - matrix @ np.full(2, _CENTRE) + (0 if by is None else by[i])
        warped[i] = cv2.warpAffine(x[i], np.column_stack([matrix, moved]), (_SIDE, _SIDE))
    return warped


# --- light and paper --------------------------------------------------------------------------------------


def _brightness(x: Floats, _: np.random.Generator) -> Floats:
    return x + np.float32(0.5)


def _stripe(x: Floats, _: np.random.Generator) -> Floats:
    striped = 1 - x
    striped[:, :, 7:21] = x[:, :, 7:21]
    return striped


def _fog(x: Floats, random: np.random.Generator) -> Floats:
    thickness = np.float32(3)  # against a digit's 1
    return np.asarray((x + thickness * _clouds(len(x), random)) / (1 + thickness), np.float32)


def _clouds(n: int, random: np.random.Generator) -> Floats:
    """Sample clouds of all sizes, values 0 to 1: each octave is half as wide and half as strong as the one before."""
    sky = np.zeros((n, _SIDE, _SIDE), np.float32)
    strength, total = 1.0, 0.0
    for width in 128, 64, 32, 16, 8, 4, 2, 1:
        side = _SIDE // width + 3
        knots = random.uniform(-1, 1, (n, side, side)).astype(np.float32)
        rows, columns = (linear_weights(random.integers(0, width, n), width, side) for _ in range(2))
        sky += strength * (rows @ knots @ columns.transpose(0, 2, 1))
        total += strength
        strength /= 2
    # Stretched, as the sum of the octaves is rarely near its bounds.
    return np.asarray(np.clip(0.5 + 1.5 * sky / (2 * total), 0, 1), np.float32)


def linear_weights(first: NDArray[np.int64], width: int, knots: int) -> Floats:
    """Return weights, shape (n, 28, knots), of linear interpolation between knots `width` pixels apart, from `first` on."""
    at = (np.arange(_SIDE) + first[:, None]) / width
    return np.clip(1 - np.abs(at[:, :, None] - np.arange(knots)), 0, 1).astype(np.float32)


def _spatter(x: Floats, random: np.random.Generator) -> Floats:
    wet = _gaussian(random.normal(0.65, 0.3, x.shape).astype(np.float32), 1) > 0.65
    drops = _gaussian(wet.astype(np.float32), 1.5)
    drops[drops < 0.8] = 0
    return x * (1 - drops) + drops * (63 / 255)


def _dotted_line(x: Floats, random: np.random.Generator) -> Floats:
    left, right = random.integers(0, _SIDE - 1, (2, len(x), 1))
    line = _line((np.zeros_like(left), left), (np.full_like(right, _SIDE - 1), right))
    return x + line * (np.arange(_SIDE) // 2 % 2)  # two pixels off, two on


def _zigzag(x: Floats, random: np.random.Generator) -> Floats:
    first, last = 2, 25  # columns
    start, rise = random.integers((0, -5), (_SIDE - 1, 5), (len(x), 2)).T[:, :, None]
    tilt = np.arctan(rise / (last - first))
    length = (last - first) / np.cos(tilt)
    turns, zero = np.arange(2, 23, 4), np.zeros_like(tilt)
    # Turns of 2 pixels to either side, and a last piece as the authors end it.
    along = np.hstack([zero, zero + turns, length])
    across = np.hstack([zero, zero + 2 * (-1) ** (turns // 4), -1 / (length - 20)])
    columns = first + along * np.cos(tilt) - across * np.sin(tilt)
    rows = start + along * np.sin(tilt) + across * np.cos(tilt)
    points = np.stack([columns, rows]).transpose(2, 0, 1)[..., None]
    return x + sum(_line(left, right) for left, right in pairwise(points))


def _line(start: Sequence[NDArray[Any]], end: Sequence[NDArray[Any]]) -> Floats:
    """Draw a line for each image between points (column, row), each of shape (n, 1); it stops short of the end's column."""
    (left, top), (right, bottom) = start, end
    at = np.arange(_SIDE)
    rows = top + (bottom - top) * (at - left) / (right - left)
    inside = (at >= np.floor(left)) & (at < np.ceil(right))
    return _pen(np.abs(at[:, None] - rows[:, None, :])) * inside[:, None, :]


def _pen(distance: NDArray[np.float64]) -> Floats:
    """Return a pen stroke's brightness at a distance, in pixels, from its middle; 0 from 1.454 pixels on."""
    return np.clip(1 + np.log1p(-np.minimum(distance, 2) / 2.3), 0, 1).astype(np.float32)


def _canny_edges(x: Floats, _: np.random.Generator) -> Floats:
    from skimage.feature import canny  # OpenCV's takes the gradient's direction in steps of 45 degrees: other edges

    return np.stack([canny(image) for image in x]).astype(np.float32)


# --- beyond MNIST-C ---------------------------------------------------------------------------------------


def _inverted(x: Floats, _: np.random.Generator) -> Floats:
    return 1 - x


def _occlusion(x: Floats, random: np.random.Generator) -> Floats:
    size, at = 8, np.arange(_SIDE)
    starts = random.integers(4, _SIDE - 4 - size + 1, (2, len(x), 1))
    rows, columns = ((at >= start) & (at < start + size) for start in starts)
    return np.where(rows[:, :, None] & columns[:, None, :], np.float32(0), x)


def _thick_pen(x: Floats, _: np.random.Generator) -> Floats:
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.stack([cv2.dilate(image, cross) for image in x])


def _thin_pen(x: Floats, _: np.random.Generator) -> Floats:
    return np.stack([cv2.erode(image, np.ones((2, 2), np.uint8)) for image in x])


def _few_pixels(x: Floats, _: np.random.Generator) -> Floats:
    small = (cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA) for image in x)
    return np.stack([cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC) for image in small])


MNIST_C: dict[str, Corruption] = {
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "shear": _shear,
    "scale": _zoom,
    "rotate": _rotate,
    "brightness": _brightness,
    "translate": _translate,
    "stripe": _stripe,
    "fog": _fog,
    "spatter": _spatter,
    "dotted_line": _dotted_line,
    "zigzag": _zigzag,
    "canny_edges": _canny_edges,
}

OTHERS: dict[str, Corruption] = {
    "inverted": _inverted,
    "occlusion": _occlusion,  # a black square of 8x8 pixels within the central 20x20
    "thick_pen": _thick_pen,
    "thin_pen": _thin_pen,
    "few_pixels": _few_pixels,  # as if scanned at 8 x 8
}
