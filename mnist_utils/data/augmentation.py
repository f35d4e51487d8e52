"""Random changes of training images that keep their label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.data.drawn import draw_digits

AUGMENTATIONS = "none", "shift", "pictures", "affine", "elastic", "erase", "contrast", "polarity"

Floats = NDArray[np.float32]
_Sides = NDArray[np.int64]

_SIDE = 28
_MARGIN = 6  # black pixels around each image, for coordinates outside it
_AT_ONCE = 512  # images in one call of OpenCV's remap; with margins, they have fewer rows than its limit of 2**15
_KNOTS = 5  # per side of the grid that bends an image: one every six pixels, about the width of a stroke's turn
_DRAWN, _TONED = 0.55, 0.3  # the shares of images that `pictures` draws anew, and changes as `polarity` does
_LEAST_CONTRAST = 0.15  # between ink and paper; black to white is 1
_BEND = 1.7  # pixels, standard deviation of a knot's displacement


def augment(x: Images, kind: str, random: np.random.Generator, *, labels: Labels | None = None) -> Images:
    """Change each image at random.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
    kind : str
        One of `AUGMENTATIONS`.
        shift: by at most one pixel. pictures: for photos, scans and drawings of digits: a part of the images, at random, is
        replaced by the same digit as others draw or print it (`draw_digits`); then shift, and for a part also polarity.
        affine: rotation (up to 15 degrees), scale (10 %), shear (0.2) and shift (2.5 pixels). elastic: affine, and a smooth
        bend (Simard, Steinkraus and Platt 2003).
        erase: elastic, and in half of the images, at random, a black rectangle with sides of 3 to 9 pixels (Zhong et al.
        2020). contrast: elastic, but with rotation up to 25 degrees, scale 0.65 to 1.15 and shift up to 4 pixels; up to
        six rectangles, from bars to squares, are covered: up to four with one grey each, before the image is turned and
        bent, and up to two with grey or noise after; and the greys go through a random curve that keeps ink brighter than
        paper. polarity: contrast, but the curve may have any shape: ink may become darker than paper, or equally dark,
        which leaves outlines; and a rectangle may be inverted.
    random : numpy.random.Generator
    labels : uint8 array, shape (n,), values 0 to 9, optional
        Which digits the images show; needed for ``pictures``.

    Returns
    -------
    uint8 array, shape (n, 28, 28)

    Raises
    ------
    ValueError
        If the kind is ``pictures`` and there are no labels.

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
    if kind == "pictures":
        return _as_in_pictures(x, random, labels)
    toned = kind in ("contrast", "polarity")
    changed = np.empty_like(x)
    for start in range(0, len(x), _AT_ONCE):
        part = x[start : start + _AT_ONCE]
        if toned:
            part = part.copy()
            for _ in range(4):
                cover(part, random, BARS, largest=40)
        rows, columns = _affine_maps(len(part), random, _WIDE if toned else _NARROW)
        if kind != "affine":
            bend = sample_bends(len(part), random)
            rows, columns = rows + bend[0], columns + bend[1]
        part = _read_at(part, rows, columns)
        if toned:
            part = change_tones(part, random, invert=kind == "polarity")
            for _ in range(2):
                cover(part, random, COVERS[kind], largest=(_SIDE // 2) ** 2)
        changed[start : start + _AT_ONCE] = part
    if kind == "erase":
        erase(changed, random)
    return changed


def _as_in_pictures(x: Images, random: np.random.Generator, labels: Labels | None) -> Images:
    if labels is None:
        raise ValueError("augment: pictures needs the labels of the images")
    x, drawn = x.copy(), random.random(len(x)) < _DRAWN
    x[drawn] = draw_digits(labels[drawn], random)
    return shift_and_tone(x, random)


def shift_and_tone(x: Images, random: np.random.Generator) -> Images:
    """Shift each image by at most one pixel, and change a part of them, at random, as ``polarity`` does; see `augment`."""
    x, toned = _random_shift(x, random), random.random(len(x)) < _TONED
    x[toned] = augment(x[toned], "polarity", random)
    return x


def _random_shift(x: Images, random: np.random.Generator) -> Images:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_SIDE, _SIDE), axis=(1, 2))
    rows, columns = random.integers(0, 3, (2, len(x)))
    return np.ascontiguousarray(windows[np.arange(len(x)), rows, columns])


@dataclass(frozen=True)
class _Range:
    """The range of an affine change: degrees, scales, pixels."""

    angle: float
    scale: tuple[float, float]
    shift: float


_NARROW = _Range(15, (0.9, 1.1), 2.5)
_WIDE = _Range(25, (0.65, 1.15), 4)


def _affine_maps(n: int, random: np.random.Generator, most: _Range) -> tuple[Floats, Floats]:
    """Sample for each pixel of each image the row and the column to read it from, each of shape (n, 28, 28)."""
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


def sample_bends(n: int, random: np.random.Generator) -> Floats:
    """Sample smooth displacements, in pixels: shape (2, n, 28, 28), of rows and of columns."""
    knots = random.normal(0, _BEND, (2, n, _KNOTS, _KNOTS)).astype(np.float32)
    return np.einsum("rk,inkl,cl->inrc", _SMOOTH, knots, _SMOOTH, optimize=True)


def _smooth() -> Floats:
    """Return weights, shape (28, knots), that turn evenly spaced knots into a smooth curve near them, not through them."""
    at = np.linspace(0, _KNOTS - 1, _SIDE)[:, None] - np.arange(_KNOTS)
    weights = np.exp(-0.5 * (at / 0.6) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_SMOOTH = _smooth()


def _read_at(x: Images, rows: Floats, columns: Floats) -> Images:
    """Read the images at these coordinates in one call: stacked vertically, with black margins between them."""
    n, padded = len(x), _SIDE + 2 * _MARGIN
    tall = np.pad(x, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN))).reshape(n * padded, padded)
    low, high = _MARGIN - 4, padded - _MARGIN + 3  # cubic interpolation reads two pixels further
    first = np.arange(n, dtype=np.float32)[:, None, None] * padded
    rows = np.clip(rows + _MARGIN, low, high) + first
    columns = np.clip(columns + _MARGIN, low, high)
    read = cv2.remap(tall, columns.reshape(-1, _SIDE), rows.reshape(-1, _SIDE), cv2.INTER_CUBIC)
    return read.reshape(n, _SIDE, _SIDE)


def erase(x: Images, random: np.random.Generator) -> None:
    """Blacken a rectangle in half of the images, at random, in place."""
    n = len(x)
    top, left = random.integers(0, _SIDE - 3, (2, n, 1))
    height, width = random.integers(3, 10, (2, n, 1)) * random.integers(0, 2, (n, 1))
    x[_rectangles(top, height, left, width)] = 0


def _rectangles(top: _Sides, height: _Sides, left: _Sides, width: _Sides) -> NDArray[np.bool_]:
    """Mark the pixels of each image's rectangle, given sides of shape (n, 1); bool, shape (n, 28, 28)."""
    at = np.arange(_SIDE)
    in_rows = (at >= top) & (at < top + height)
    in_columns = (at >= left) & (at < left + width)
    return in_rows[:, :, None] & in_columns[:, None, :]


def change_tones(x: Images, random: np.random.Generator, *, invert: bool) -> Images:
    """Map the greys of each image through its own curve: straight lines between values for black, grey and white."""
    n = len(x)
    black, grey, white = random.beta(0.5, 0.5, (3, n))  # dark and bright are more likely than grey
    if not invert:
        black, white = np.minimum(black, white), np.maximum(black, white)
        grey = black + grey * (white - black)
    apart = np.ptp([black, grey, white], axis=0) >= _LEAST_CONTRAST * (2 if invert else 1)
    plain = (random.random(n) < 0.4) | ~apart  # unchanged, or inverted
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


# How rectangles are covered: the share of images for each way.
BARS = {"none": 0.6, "grey": 0.4}
COVERS = {
    "contrast": {"none": 0.5, "grey": 0.35, "noise": 0.15},
    "polarity": {"none": 0.4, "grey": 0.35, "noise": 0.15, "inverse": 0.1},
}


def cover(x: Images, random: np.random.Generator, shares: dict[str, float], *, largest: int) -> None:
    """Cover a rectangle of at most `largest` pixels in some images, in place: with one grey, noise or its own inverse."""
    n = len(x)
    how = random.choice(list(shares), n, p=list(shares.values()))
    most = np.where(how == "noise", (3 * _SIDE) ** 2, largest)[:, None]  # noise may cover the complete image
    area = np.exp(random.uniform(0, np.log(most)))
    aspect = np.exp(random.uniform(-1, 1, (n, 1)) * np.log(_SIDE))  # bars are as likely as squares
    height, width = (np.maximum(np.sqrt(side), 1).round().astype(int) for side in (area * aspect, area / aspect))
    top = random.integers(-height // 2, _SIDE - height // 2)
    left = random.integers(-width // 2, _SIDE - width // 2)
    inside = _rectangles(top, height, left, width)
    greys = np.clip(random.uniform(-0.5, 1.5, n), 0, 1) * 255  # half of them are black or white
    # Noise covers 0 to 60 % of its pixels.
    inside &= (random.random(x.shape) < random.uniform(0, 0.6, (n, 1, 1))) | (how != "noise")[:, None, None]
    noise, inverse = how == "noise", how == "inverse"
    covers = np.broadcast_to(greys.astype(np.uint8)[:, None, None], x.shape).copy()
    covers[noise] = random.integers(0, 256, covers[noise].shape, np.uint8)
    covers[inverse] = 255 - x[inverse]
    inside[how == "none"] = False
    x[inside] = covers[inside]
