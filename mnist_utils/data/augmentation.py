"""Random changes of training images that leave the digit what it is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images

Floats = NDArray[np.float32]
_Sides = NDArray[np.int64]

_SIDE = 28
_MARGIN = 6  # pixels of black about each image, from which coordinates outside it are read
_AT_ONCE = 512  # images; their margins included they stay below 2**15 rows, which is as far as OpenCV's remap reaches
_KNOTS = 5  # a side, of the grid that bends an image: one for every six pixels, about the width of a stroke's turn
_LEAST_CONTRAST = 0.15  # of ink and paper, of 1
_BEND = 1.7  # pixels, standard deviation of a knot's displacement


def augment(x: Images, kind: str, random: np.random.Generator) -> Images:
    """Change each image at random.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
    kind : {"none", "shift", "affine", "elastic", "erase", "contrast", "polarity"}
        shift: by at most one pixel. affine: rotation (15 degrees at most), scale (10 %), shear (0.2) and shift (2.5
        pixels). elastic: affine, and bent smoothly (Simard, Steinkraus and Platt 2003). erase: elastic, and in every other
        image a rectangle of 3 to 9 pixels a side is blackened (Zhong et al. 2020). contrast: elastic, but with rotation up
        to 25 degrees, scale 0.65 to 1.15, shift up to 4 pixels; up to six rectangles, from bars to squares, are covered:
        up to four with one grey each, before the image is turned and bent, and up to two with grey or noise, after; and the
        greys go through a random curve that keeps ink brighter than paper. polarity: contrast, but the curve may have any
        shape: ink may become darker than paper, or as dark, which leaves outlines; and a rectangle may be an inverted part.
    random : numpy.random.Generator

    Returns
    -------
    uint8 array, shape (n, 28, 28)

    References
    ----------
    Simard, Steinkraus and Platt (2003), Best practices for convolutional neural networks applied to visual document
    analysis. ICDAR.
    Zhong et al. (2020), Random erasing data augmentation. AAAI.
    """
    if kind == "none":
        return x
    if kind == "shift":
        return _random_shift(x, random)
    toned = kind in ("contrast", "polarity")
    changed = np.empty_like(x)
    for start in range(0, len(x), _AT_ONCE):
        part = x[start : start + _AT_ONCE]
        if toned:
            part = part.copy()
            for _ in range(4):
                _cover(part, random, _BARS, largest=40)
        rows, columns = _affine_maps(len(part), random, _WIDE if toned else _NARROW)
        if kind != "affine":
            bend = _bends(len(part), random)
            rows, columns = rows + bend[0], columns + bend[1]
        part = _read_at(part, rows, columns)
        if toned:
            part = _tone(part, random, invert=kind == "polarity")
            for _ in range(2):
                _cover(part, random, _COVERS[kind], largest=(_SIDE // 2) ** 2)
        changed[start : start + _AT_ONCE] = part
    if kind == "erase":
        _erase(changed, random)
    return changed


def _random_shift(x: Images, random: np.random.Generator) -> Images:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_SIDE, _SIDE), axis=(1, 2))
    rows, columns = random.integers(0, 3, (2, len(x)))
    return np.ascontiguousarray(windows[np.arange(len(x)), rows, columns])


@dataclass(frozen=True)
class _Range:
    """How far an affine change goes: degrees, scales, pixels."""

    angle: float
    scale: tuple[float, float]
    shift: float


_NARROW = _Range(15, (0.9, 1.1), 2.5)
_WIDE = _Range(25, (0.65, 1.15), 4)


def _affine_maps(n: int, random: np.random.Generator, most: _Range) -> tuple[Floats, Floats]:
    """Draw for each pixel of each image the row and the column to read it from, each of shape (n, 28, 28)."""
    angle = np.deg2rad(random.uniform(-most.angle, most.angle, n))
    shear = random.uniform(-0.2, 0.2, n)
    scale_x, scale_y = random.uniform(*most.scale, (2, n))
    shift_x, shift_y = random.uniform(-most.shift, most.shift, (2, n))
    cos, sin = np.cos(angle), np.sin(angle)
    centre = (_SIDE - 1) / 2
    at = np.arange(_SIDE) - centre

    def coordinates(of_x: NDArray[np.float64], of_y: NDArray[np.float64], shift: NDArray[np.float64]) -> Floats:
        along_row = (of_x[:, None] * at)[:, None, :]
        along_column = (of_y[:, None] * at + shift[:, None] + centre)[:, :, None]
        return (along_row + along_column).astype(np.float32)

    columns = coordinates(cos / scale_x, (shear * cos - sin) / scale_x, shift_x)
    rows = coordinates(sin / scale_y, (shear * sin + cos) / scale_y, shift_y)
    return rows, columns


def _bends(n: int, random: np.random.Generator) -> Floats:
    """Draw smooth displacements, in pixels: shape (2, n, 28, 28), for rows and for columns."""
    knots = random.normal(0, _BEND, (2, n, _KNOTS, _KNOTS)).astype(np.float32)
    return np.einsum("rk,inkl,cl->inrc", _SMOOTH, knots, _SMOOTH, optimize=True)


def _smooth() -> Floats:
    """Return weights, shape (28, knots), by which evenly spaced knots become a smooth curve through none of them."""
    at = np.linspace(0, _KNOTS - 1, _SIDE)[:, None] - np.arange(_KNOTS)
    weights = np.exp(-0.5 * (at / 0.6) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_SMOOTH = _smooth()


def _read_at(x: Images, rows: Floats, columns: Floats) -> Images:
    """Read the images at these coordinates, all by one call: below each other, with black margins in between."""
    n, padded = len(x), _SIDE + 2 * _MARGIN
    tall = np.pad(x, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))).reshape(n * padded, padded)
    low, high = _MARGIN - 4, padded - _MARGIN + 3  # cubic interpolation reads two pixels further
    first = np.arange(n, dtype=np.float32)[:, None, None] * padded
    rows = np.clip(rows + _MARGIN, low, high) + first
    columns = np.clip(columns + _MARGIN, low, high)
    read = cv2.remap(tall, columns.reshape(-1, _SIDE), rows.reshape(-1, _SIDE), cv2.INTER_CUBIC)
    return read.reshape(n, _SIDE, _SIDE)


def _erase(x: Images, random: np.random.Generator) -> None:
    """Blacken a rectangle in every other image, in place."""
    n = len(x)
    top, left = random.integers(0, _SIDE - 3, (2, n, 1))
    height, width = random.integers(3, 10, (2, n, 1)) * random.integers(0, 2, (n, 1))
    x[_rectangles(top, height, left, width)] = 0


def _rectangles(top: _Sides, height: _Sides, left: _Sides, width: _Sides) -> NDArray[np.bool_]:
    """Say which pixels lie in each image's rectangle: shape (n, 28, 28), of sides of shape (n, 1)."""
    at = np.arange(_SIDE)
    in_rows = (at >= top) & (at < top + height)
    in_columns = (at >= left) & (at < left + width)
    return in_rows[:, :, None] & in_columns[:, None, :]


def _tone(x: Images, random: np.random.Generator, *, invert: bool) -> Images:
    """Send the greys of each image through a curve of its own: straight lines between values for black, grey and white."""
    n = len(x)
    black, grey, white = random.beta(0.5, 0.5, (3, n))  # dark and bright are likelier than in between
    if not invert:
        black, white = np.minimum(black, white), np.maximum(black, white)
        grey = black + grey * (white - black)
    apart = np.ptp([black, grey, white], axis=0) >= _LEAST_CONTRAST * (2 if invert else 1)
    plain = (random.random(n) < 0.4) | ~apart  # as it was, or inverted
    flipped = random.random(n) < 0.5 if invert else np.zeros(n, bool)
    black, grey, white = (
        np.where(plain, np.where(flipped, 1 - level, level), drawn)
        for level, drawn in ((0.0, black), (0.5, grey), (1.0, white))
    )
    at = np.arange(256) / 255
    curves = np.maximum(1 - 2 * at, 0) * black[:, None]
    curves += (1 - np.abs(2 * at - 1)) * grey[:, None]
    curves += np.maximum(2 * at - 1, 0) * white[:, None]
    greys = (curves * 255).round().astype(np.uint8)
    return np.take_along_axis(greys, x.reshape(n, -1).astype(np.intp), axis=1).reshape(x.shape)


# How a rectangle is covered: the share of the images for each way.
_BARS = {"none": 0.6, "grey": 0.4}
_COVERS = {
    "contrast": {"none": 0.5, "grey": 0.35, "noise": 0.15},
    "polarity": {"none": 0.4, "grey": 0.35, "noise": 0.15, "inverse": 0.1},
}


def _cover(x: Images, random: np.random.Generator, shares: dict[str, float], *, largest: int) -> None:
    """Cover a rectangle of at most `largest` pixels in some images, in place: with one grey, noise or its own inverse."""
    n = len(x)
    how = random.choice(list(shares), n, p=list(shares.values()))
    most = np.where(how == "noise", (3 * _SIDE) ** 2, largest)[:, None]  # noise may lie over the whole image
    area = np.exp(random.uniform(0, np.log(most)))
    aspect = np.exp(random.uniform(-1, 1, (n, 1)) * np.log(_SIDE))  # a bar is as likely as a square
    height, width = (np.maximum(np.sqrt(side), 1).round().astype(int) for side in (area * aspect, area / aspect))
    top = random.integers(-height // 2, _SIDE - height // 2)
    left = random.integers(-width // 2, _SIDE - width // 2)
    inside = _rectangles(top, height, left, width)
    greys = np.clip(random.uniform(-0.5, 1.5, n), 0, 1) * 255  # every other is as black or as white as can be
    # Noise may be as thin as none at all.
    inside &= (random.random(x.shape) < random.uniform(0, 0.6, (n, 1, 1))) | (how != "noise")[:, None, None]
    noise, inverse = how == "noise", how == "inverse"
    covers = np.broadcast_to(greys.astype(np.uint8)[:, None, None], x.shape).copy()
    covers[noise] = random.integers(0, 256, covers[noise].shape, np.uint8)
    covers[inverse] = 255 - x[inverse]
    inside[how == "none"] = False
    x[inside] = covers[inside]
