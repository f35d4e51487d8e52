"""Ink -> the strokes of a digit."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.ink import connected_parts, stroke_width

LEAST_SIDE, _MOST_PARTS = 6, 8  # a digit's least height or width in pixels; its greatest number of pieces
_SPECK = 0.025  # of the picture's shorter side: if the longest piece is shorter, there is no digit
_BROKEN = 0.12  # of the digit's height: the shortest piece that is taken for a part of a broken stroke
_THIN, _PEN = 0.075, 0.1  # stroke width as a fraction of the digit's longer side; MNIST's is 0.1 to 0.15


def keep_strokes(ink: Floats) -> tuple[Floats, int]:
    """Keep the strokes; specks become paper. Return also the number of pieces that are left.

    Raises
    ------
    ImageError
        If there are too many pieces, or nothing but specks.
    """
    parts, boxes = connected_parts(ink > 0.5)
    sizes = boxes[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0  # the paper
    large = np.flatnonzero(sizes >= 0.1 * max(sizes.max(), 1))
    if len(large) > _MOST_PARTS:
        raise ImageError(
            "no digit", f"{len(large)} pieces of similar size: noise, text, or a number, which digits many reads"
        )
    longest = boxes[large][:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(initial=0)
    if len(large) and longest < _SPECK * min(ink.shape):
        raise ImageError("no digit", f"only specks, all of them smaller than {_SPECK:.1%} of the picture's shorter side")
    kept = np.isin(parts, large)
    if len(broken := _broken_off(parts, boxes, large)):
        kept |= np.isin(parts, broken)
    # Keep the soft edges of the strokes.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return np.where(cv2.dilate(kept.astype(np.uint8), cross, iterations=2) > 0, ink, np.float32(0)), len(large)


def _broken_off(parts: NDArray[np.int32], boxes: NDArray[np.int32], large: NDArray[np.intp]) -> NDArray[np.intp]:
    """Find the small parts that a pen broke off: as near to a large part as its strokes are wide, and no dots."""
    top, height = boxes[large, cv2.CC_STAT_TOP], boxes[large, cv2.CC_STAT_HEIGHT]
    extent = np.max(top + height, initial=0) - 1 - np.min(top, initial=len(parts))
    length = np.maximum(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT])
    small = np.setdiff1d(np.flatnonzero(length >= _BROKEN * extent), [0, *large])
    if not len(large) or not len(small):
        return np.zeros(0, np.intp)  # as in most pictures: what follows takes as long as all before it
    kept = np.isin(parts, large)
    width = max(3, round(1.5 * stroke_width(kept)))
    near = cv2.dilate(kept.astype(np.uint8), np.ones((2 * width + 1,) * 2, np.uint8)) > 0
    return np.intersect1d(small, parts[near])


def widen_strokes(digit: Floats) -> tuple[Floats, float]:
    """Widen strokes too thin to survive shrinking to 20x20 pixels; return the digit and the original width."""
    side = max(digit.shape)
    width = stroke_width(digit > 0.5)
    if width / side >= _THIN:
        return digit, width / side
    radius = max(1, round((_PEN * side - width) / 2))
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    return cv2.dilate(np.pad(digit, radius), disk), width / side
