"""Pixels -> the ink of a digit: frames, polarity, strokes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.decode import LEAST_CONTRAST, ImageError, Polarity

LEAST_SIDE, _MOST_PARTS = 6, 8  # a digit's least height or width in pixels; its greatest number of pieces
_EVEN = 0.92  # in even light, paper against ink explains at least this share of a picture's variance
_THIN, _PEN = 0.075, 0.1  # stroke width as a fraction of the digit's longer side; MNIST's is 0.1 to 0.15


def check_contrast(contrast: float) -> None:
    """Raise `ImageError` where nothing stands out."""
    if not contrast >= LEAST_CONTRAST:
        raise ImageError(
            "no digit", f"almost a single colour: contrast {contrast:.0%}, at least {LEAST_CONTRAST:.0%} needed"
        )


def border_pixels(picture: Floats) -> Floats:
    """Return the pixels of a picture's four edges, shape (n, channels)."""
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def cut_box(colour: Floats, box: tuple[int, int, int, int]) -> Floats:
    """Cut (top, left, bottom, right) out of a picture."""
    top, left, bottom, right = box
    return colour[top:bottom, left:right]


def find_frame(colour: Floats) -> tuple[int, int, int, int] | None:
    """Return the box (top, left, bottom, right) inside a frame or panel around the digit, if there is one.

    A frame is an upright rectangle, outlined or filled, that covers most of the picture without touching its edge and
    has something inside. A shadow touches the edge; the strokes of a digit form no rectangle.
    """
    height, width = colour.shape[:2]
    different = _vector_length(_subtract_paper(colour, np.median(border_pixels(colour), axis=0))) > 0.35
    if not all((different.sum(axis=axis) > 0.375 * different.shape[axis]).sum() > 1 for axis in (0, 1)):
        return None  # quick test: no two lines cross half the picture, as in most pictures
    parts, boxes = _connected_parts(different)
    # Only large parts: noise has thousands of small ones.
    for number in np.flatnonzero((boxes[:, cv2.CC_STAT_HEIGHT] >= height / 2) & (boxes[:, cv2.CC_STAT_WIDTH] >= width / 2)):
        if number == 0:  # the paper
            continue
        left, top, columns, rows = boxes[number, :4]
        part = parts[top : top + rows, left : left + columns] == number
        # The first and last rows and columns that are mostly filled: ticks may stick out of a plot's axes.
        sides = [np.flatnonzero(part.mean(axis=axis) > 0.75) for axis in (1, 0)]
        if not all(len(side) > 1 and np.ptp(side) > 0.85 * length for side, length in zip(sides, part.shape, strict=True)):
            continue
        top, bottom = top + sides[0][0], top + sides[0][-1] + 1
        left, right = left + sides[1][0], left + sides[1][-1] + 1
        inside_picture = min(top, left, height - bottom, width - right) > 0
        if not inside_picture or bottom - top < height / 2 or right - left < width / 2:
            continue
        part = part[sides[0][0] : sides[0][-1] + 1, sides[1][0] : sides[1][-1] + 1]
        margin = (
            2
            + round(0.01 * max(part.shape))
            + max(_line_thickness(turned) for turned in (part, part[::-1], part.T, part.T[::-1]))
        )
        inside = int(top + margin), int(left + margin), int(bottom - margin), int(right - margin)
        if (
            min(inside[2] - inside[0], inside[3] - inside[1]) >= 10
            and np.ptp(to_grey(cut_box(colour, inside))) > LEAST_CONTRAST
        ):
            return inside
    return None


def _line_thickness(part: NDArray[np.bool_]) -> int:
    """Return how many of the first rows form a line; 0 if the part is filled."""
    covered = part.mean(axis=1) > 0.6
    return 0 if covered[: len(covered) // 4].all() else int(covered.argmin())


def to_grey(colour: Floats) -> Floats:
    """Turn colours into grey, 0 to 1."""
    return cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)  # weights of ITU-R BT.601


def find_ink(colour: Floats, polarity: Polarity) -> tuple[Floats, bool]:
    """Return the ink, 0 to 1, for paper of any colour in any light, and whether the ink is darker than the paper."""
    blurred = cv2.GaussianBlur(colour, (0, 0), max(colour.shape) / 400, borderType=cv2.BORDER_REFLECT)
    difference = _subtract_paper(blurred, _estimate_paper(blurred))
    lighter = to_grey(difference)
    inverted = is_dark_on_light(lighter) if polarity == "auto" else polarity == "dark-on-light"
    strength = _vector_length(difference) / np.float32(np.sqrt(3))
    # A clear difference in the other direction is a reflection or a shadow; ink may be as light as coloured paper.
    strength[(lighter if inverted else -lighter) > 0.4 * strength] = 0
    check_contrast(float(np.quantile(strength, 0.9999)))
    strong = strength[_otsu(strength)]
    if not len(strong):
        raise ImageError("no digit", "nothing stands out from the paper")
    return np.clip(strength / np.median(strong), 0, 1), inverted


def is_dark_on_light(lighter: Floats) -> bool:
    """Decide the polarity from how much lighter than the paper each pixel is, -1 to 1.

    Strokes differ from the paper in one direction, noise in both; the third power favours the few large differences.
    """
    return bool((lighter * lighter * lighter).sum() < 0)


def _estimate_paper(colour: Floats) -> Floats:
    """Estimate the paper's colour: a single one in even light, otherwise one per pixel.

    In even light the pixels form two narrow groups, the ink and the colour that dominates the edge, however large the
    digit is. Otherwise the paper is the median of a wide neighbourhood, in which strokes are the minority.
    """
    even = np.median(border_pixels(colour), axis=0)
    distance = _vector_length(_subtract_paper(colour, even))
    ink = _otsu(distance)
    share = float(ink.mean())
    if not share or np.ptp(distance) < LEAST_CONTRAST:
        return even  # nothing stands out; the variation may be rounding
    of_all, spread = (float(value[0, 0]) for value in cv2.meanStdDev(distance))
    of_ink = cv2.mean(distance, ink.view(np.uint8))[0]
    between = share / (1 - share) * (of_ink - of_all) ** 2  # the variance of the two groups' means
    if between > _EVEN * spread**2:
        return even
    height, width = colour.shape[:2]
    scale = 40 / max(height, width)
    size = max(2, round(scale * width)), max(2, round(scale * height))
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    around = cv2.copyMakeBorder(np.round(255 * small).astype(np.uint8), 8, 8, 8, 8, cv2.BORDER_REFLECT)
    median = cv2.medianBlur(around, 17)[8:-8, 8:-8].astype(np.float32) / np.float32(255)
    return cv2.resize(median, (width, height), interpolation=cv2.INTER_LINEAR)


def _subtract_paper(colour: Floats, paper: Floats) -> Floats:
    """Subtract a colour, or a picture; numpy takes three times as long for a colour."""
    return cv2.subtract(colour, tuple(map(float, paper)) if paper.ndim == 1 else paper)


def _vector_length(vectors: Floats) -> Floats:
    """Return the Euclidean length along the last axis."""
    return np.sqrt(cv2.transform(vectors * vectors, np.ones((1, vectors.shape[2]), np.float32)))


def _otsu(values: Floats) -> NDArray[np.bool_]:
    """Mark the upper of two groups of values (Otsu 1979)."""
    scaled = cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    threshold, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_OTSU)
    return scaled > threshold


def _connected_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Label the connected parts (8-connectivity) from 1; return the labels and OpenCV's statistics of each part."""
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return parts, boxes


def keep_strokes(ink: Floats) -> Floats:
    """Keep the strokes; specks become paper."""
    parts, boxes = _connected_parts(ink > 0.5)
    sizes = boxes[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0  # the paper
    large = np.flatnonzero(sizes >= 0.1 * max(sizes.max(), 1))
    if len(large) > _MOST_PARTS:
        raise ImageError("no digit", f"{len(large)} pieces of similar size, as in noise or text")
    kept = np.isin(parts, large)
    # Keep the soft edges of the strokes.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.where(cv2.dilate(kept.astype(np.uint8), cross, iterations=2) > 0, ink, np.float32(0))


def widen_strokes(digit: Floats) -> tuple[Floats, float]:
    """Widen strokes too thin to survive shrinking to 20x20 pixels; return the digit and the original width."""
    side = max(digit.shape)
    inside = cv2.distanceTransform(np.pad(digit > 0.5, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    width = 4 * float(inside[inside > 0].mean())  # the mean distance to a bar's edge is a quarter of its width
    if width / side >= _THIN:
        return digit, width / side
    radius = max(1, round((_PEN * side - width) / 2))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(np.pad(digit, radius), disk), width / side
