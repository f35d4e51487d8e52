"""Random changes of training images that leave the digit what it is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils.data import Images

Floats = NDArray[np.float32]

_SIDE = 28
_MARGIN = 6  # pixels of black about each image, from which coordinates outside it are read
_AT_ONCE = 512  # images; their margins included they stay below 2**15 rows, which is as far as OpenCV's remap reaches
_KNOTS = 5  # a side, of the grid that bends an image: one for every six pixels, about the width of a stroke's turn
_BEND = 1.7  # pixels, standard deviation of a knot's displacement


def augment(x: Images, kind: str, random: np.random.Generator) -> Images:
    """Change each image at random.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
    kind : {"none", "shift", "affine", "elastic", "erase"}
        shift: by at most one pixel. affine: rotation (15 degrees at most), scale (10 %), shear (0.2) and shift (2.5
        pixels). elastic: affine, and bent smoothly (Simard, Steinkraus and Platt 2003). erase: elastic, and in every other
        image a rectangle of 3 to 9 pixels a side is blackened (Zhong et al. 2020).
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
        return _shift(x, random)
    changed = np.empty_like(x)
    for start in range(0, len(x), _AT_ONCE):
        part = x[start : start + _AT_ONCE]
        rows, columns = _affine_maps(len(part), random)
        if kind != "affine":
            bend = _bends(len(part), random)
            rows, columns = rows + bend[0], columns + bend[1]
        changed[start : start + _AT_ONCE] = _read_at(part, rows, columns)
    if kind == "erase":
        _erase(changed, random)
    return changed


def _shift(x: Images, random: np.random.Generator) -> Images:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_SIDE, _SIDE), axis=(1, 2))
    rows, columns = random.integers(0, 3, (2, len(x)))
    return np.ascontiguousarray(windows[np.arange(len(x)), rows, columns])


def _affine_maps(n: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw for each pixel of each image the row and the column to read it from, each of shape (n, 28, 28)."""
    angle = np.deg2rad(random.uniform(-15, 15, n))
    shear = random.uniform(-0.2, 0.2, n)
    scale_x, scale_y = random.uniform(0.9, 1.1, (2, n))
    shift_x, shift_y = random.uniform(-2.5, 2.5, (2, n))
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
    at = np.arange(_SIDE)
    in_rows = (at >= top) & (at < top + height)
    in_columns = (at >= left) & (at < left + width)
    x[in_rows[:, :, None] & in_columns[:, None, :]] = 0
