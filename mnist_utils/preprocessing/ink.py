"""Pixels -> ink: the paper's colour in any light, the polarity, and how much of each pixel is ink."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.decode import LEAST_CONTRAST, ImageError, Polarity

_FULL = 0.7  # of the ink's median strength: what counts as full ink, for nobody presses evenly
_EVEN = 0.92  # in even light, paper against ink explains at least this share of a picture's variance


def check_contrast(contrast: float) -> None:
    """Raise `ImageError` where nothing stands out."""
    if not contrast >= LEAST_CONTRAST:
        raise ImageError(
            "no digit", f"almost a single colour: contrast {contrast:.0%}, at least {LEAST_CONTRAST:.0%} needed"
        )


def border_pixels(picture: Floats) -> Floats:
    """Return the pixels of a picture's four edges, shape (n, channels)."""
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def to_grey(colour: Floats) -> Floats:
    """Turn colours into grey, 0 to 1."""
    return cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)  # weights of ITU-R BT.601


@dataclass(frozen=True)
class Marks:
    """What stands out from the paper.

    Attributes
    ----------
    colour : float array, shape (height, width, 3), values 0 to 1
    paper : float array, shape (3,) in even light, else (height, width, 3)
    difference : float array, shape (height, width, 3)
        Of the picture, slightly blurred, to the paper.
    strength : float array, shape (height, width), values 0 to 1
        The difference's length.
    mask : bool array, shape (height, width)
        The stronger of two groups of pixels.
    """

    colour: Floats
    paper: Floats
    difference: Floats
    strength: Floats
    mask: NDArray[np.bool_]


def find_marks(colour: Floats) -> Marks:
    """Find what stands out from paper of any colour in any light."""
    blurred = cv2.GaussianBlur(colour, (0, 0), max(colour.shape) / 400, borderType=cv2.BORDER_REFLECT)
    paper, difference, distance = estimate_paper(blurred)
    strength = distance / np.float32(np.sqrt(3))
    return Marks(colour, paper, difference, strength, otsu(strength))


def find_ink(marks: Marks, polarity: Polarity) -> tuple[Floats, bool]:
    """Return the ink, 0 to 1, and whether it is darker than the paper.

    Raises
    ------
    ImageError
        If nothing stands out.
    """
    lighter = to_grey(marks.difference)
    inverted = is_dark_on_light(lighter) if polarity == "auto" else polarity == "dark-on-light"
    # A clear difference in the other direction is a reflection or a shadow; ink may be as light as coloured paper.
    strength = np.where((lighter if inverted else -lighter) > 0.4 * marks.strength, np.float32(0), marks.strength)
    check_contrast(float(np.quantile(strength, 0.9999)))
    strong = strength[otsu(strength)]
    if not len(strong):
        raise ImageError("no digit", "nothing stands out from the paper")
    return np.clip(strength / (_FULL * np.median(strong)), 0, 1), inverted


def is_dark_on_light(lighter: Floats) -> bool:
    """Decide the polarity from how much lighter than the paper each pixel is, -1 to 1.

    Strokes differ from the paper in one direction, noise in both; the third power favours the few large differences.
    """
    return bool((lighter * lighter * lighter).sum() < 0)


def estimate_paper(colour: Floats) -> tuple[Floats, Floats, Floats]:
    """Estimate the paper's colour, a single one in even light, otherwise one per pixel; return it, and what differs from it.

    In even light the pixels form two narrow groups, the ink and the colour that dominates the edge, however large the
    digit is. Otherwise the paper is the median of a wide neighbourhood, in which strokes are the minority.
    """
    even = np.median(border_pixels(colour), axis=0)
    difference = subtract_paper(colour, even)
    distance = vector_length(difference)
    ink = otsu(distance)
    # Where nothing stands out, the variation may be rounding.
    if not ink.any() or np.ptp(distance) < LEAST_CONTRAST or _are_two_groups(distance, ink):
        return even, difference, distance
    height, width = colour.shape[:2]
    scale = 40 / max(height, width)
    size = max(2, round(scale * width)), max(2, round(scale * height))
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    flat = np.zeros_like(small)
    papers = [_smooth_paper(small, slope) for slope in (flat, _fit_plane(small))]
    median = min(papers, key=lambda paper: float(np.abs(small - paper).mean()))  # the nearer to the picture
    paper = cv2.resize(median, (width, height), interpolation=cv2.INTER_LINEAR)
    difference = subtract_paper(colour, paper)
    return paper, difference, vector_length(difference)


def _smooth_paper(small: Floats, slope: Floats) -> Floats:
    """Return the median of a wide neighbourhood, after a slope was taken out of the picture.

    Where light falls off evenly, the median would be wrong along the edges, where it sees one side only. Where it falls in a
    step, taking out a slope makes ridges, which the median flattens.
    """
    level = np.clip(np.round(180 * (small - slope) + 38), 0, 255).astype(np.uint8)  # room for -0.2 to 1.2
    around = cv2.copyMakeBorder(level, 8, 8, 8, 8, cv2.BORDER_REFLECT)
    return (cv2.medianBlur(around, 17)[8:-8, 8:-8].astype(np.float32) - 38) / np.float32(180) + slope


def _fit_plane(colour: Floats) -> Floats:
    """Fit a plane to each channel; return it, its mean zero."""
    plane = np.zeros_like(colour)
    for axis in 0, 1:
        at = np.linspace(-1, 1, colour.shape[axis], dtype=np.float32)
        slope = (colour.mean(axis=1 - axis) * at[:, None]).sum(axis=0) / max(float((at**2).sum()), 1e-9)
        plane += np.expand_dims(at[:, None] * slope, 1 - axis)
    return plane


def _are_two_groups(distance: Floats, ink: NDArray[np.bool_]) -> bool:
    """Say whether two values explain almost all of the pixels' variance, soft edges apart if the strokes are wide."""
    size = np.ones((2 * round(0.02 * max(ink.shape)) + 1,) * 2, np.uint8)
    inner, outer = cv2.erode(ink.view(np.uint8), size), cv2.dilate(ink.view(np.uint8), size)
    edges = (outer > inner).view(np.uint8)
    if inner.sum() < 0.15 * ink.sum() or edges.all():
        edges[:] = 0
    of_all, spread = (float(value[0, 0]) for value in cv2.meanStdDev(distance, mask=1 - edges))
    of_ink = cv2.mean(distance, ink.view(np.uint8) & (1 - edges))[0]
    share = float((ink & (edges == 0)).sum() / (edges == 0).sum())
    between = share / (1 - share) * (of_ink - of_all) ** 2 if share < 1 else 0.0  # the variance of the two groups' means
    return between > _EVEN * spread**2


def subtract_paper(colour: Floats, paper: Floats) -> Floats:
    """Subtract a colour, or a picture; numpy takes three times as long for a colour."""
    return cv2.subtract(colour, tuple(map(float, paper)) if paper.ndim == 1 else paper)


def vector_length(vectors: Floats) -> Floats:
    """Return the Euclidean length along the last axis."""
    return np.sqrt(cv2.transform(vectors * vectors, np.ones((1, vectors.shape[2]), np.float32)))


def otsu(values: Floats) -> NDArray[np.bool_]:
    """Mark the upper of two groups of values (Otsu 1979)."""
    scaled = cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    threshold, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_OTSU)
    return scaled > threshold


def connected_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Label the connected parts (8-connectivity) from 1; return the labels and OpenCV's statistics of each part."""
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return parts, boxes


def stroke_width(mask: NDArray[np.bool_]) -> float:
    """Return the usual width of a mask's strokes in pixels; 0 for an empty one."""
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # The mean distance to a bar's edge is a quarter of its width.
    return 4 * float(inside[inside > 0].mean()) if mask.any() else 0.0
