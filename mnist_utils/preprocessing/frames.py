"""Frames and panels around a digit."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.decode import LEAST_CONTRAST
from mnist_utils.preprocessing.ink import border_pixels, connected_parts, subtract_paper, to_grey, vector_length

_LEAST_PANEL = 0.3  # of the picture's width and height


def cut_box(colour: Floats, box: tuple[int, int, int, int]) -> Floats:
    """Cut (top, left, bottom, right) out of a picture."""
    top, left, bottom, right = box
    return colour[top:bottom, left:right]


def find_frame(colour: Floats) -> tuple[int, int, int, int] | None:
    """Return the box (top, left, bottom, right) inside a frame or panel around the digit, if there is one.

    A frame is an upright rectangle, outlined or filled, of a good part of the picture, that does not touch its edge and
    has something inside. A shadow touches the edge; the strokes of a digit form no rectangle.
    """
    height, width = colour.shape[:2]
    different = vector_length(subtract_paper(colour, np.median(border_pixels(colour), axis=0))) > 0.35
    if not all((different.sum(axis=axis) > 0.75 * _LEAST_PANEL * different.shape[axis]).sum() > 1 for axis in (0, 1)):
        return None  # quick test: no two lines cross much of the picture, as in most pictures
    parts, boxes = connected_parts(different)
    # Only large parts: noise has thousands of small ones.
    for number in np.flatnonzero(
        (boxes[:, cv2.CC_STAT_HEIGHT] >= _LEAST_PANEL * height) & (boxes[:, cv2.CC_STAT_WIDTH] >= _LEAST_PANEL * width)
    ):
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
        cut_off = np.count_nonzero(np.array([top, left, height - bottom, width - right]) <= 0)
        if (
            cut_off > 1
            or (cut_off and (bottom - top) * (right - left) < height * width / 2)
            or bottom - top < _LEAST_PANEL * height
            or right - left < _LEAST_PANEL * width
        ):
            continue
        part = part[sides[0][0] : sides[0][-1] + 1, sides[1][0] : sides[1][-1] + 1]
        margin = 1 + round(0.006 * max(part.shape))
        lines = [margin + _line_thickness(turned) for turned in (part, part.T, part[::-1], part.T[::-1])]
        inside = int(top + lines[0]), int(left + lines[1]), int(bottom - lines[2]), int(right - lines[3])
        if (
            min(inside[2] - inside[0], inside[3] - inside[1]) >= 10
            and np.ptp(to_grey(cut_box(colour, inside))) > LEAST_CONTRAST
        ):
            return inside
    return None


def _line_thickness(part: NDArray[np.bool_]) -> int:
    """Return how many of the first rows form a line; 0 if the part is filled."""
    covered = part.mean(axis=1) > 0.6
    return 0 if covered[: len(covered) // 3].all() or covered.mean() > 0.65 else int(covered.argmin())
