"""Ink -> the pieces of several digits, in rows, and the ways to put them together.

A piece is a stroke or strokes that belong together. A digit is one piece or some neighbours; digits that touch are one part
of ink and are cut where it is thin. Which pieces form a digit is decided where a model can be asked (`runs.numbers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.ink import connected_parts

Box = tuple[int, int, int, int]  # left, top, right, bottom

_CLEAR = 0.7  # of full ink: fainter parts are the paper's
_SPECK = 0.25  # of the usual digit's height: what is smaller is no piece
_WIDE = 0.85  # width to height of a piece that may be two digits that touch
MOST_PIECES = 4  # of one digit


@dataclass(frozen=True)
class Piece:
    """A part of the ink.

    Attributes
    ----------
    box : (left, top, right, bottom), pixels
    ink : float array, shape (bottom - top, right - left), values 0 to 1
        Without what belongs to other pieces.
    cut : bool
        Whether it was cut off from the piece on its left.
    """

    box: Box
    ink: Floats
    cut: bool = False

    @property
    def height(self) -> int:
        """In pixels."""
        return self.box[3] - self.box[1]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.box[2] - self.box[0]


def find_rows(ink: Floats) -> tuple[list[list[Piece]], float]:
    """Find the pieces of a picture in reading order, and the usual height of a digit in pixels.

    Parameters
    ----------
    ink : float array, shape (height, width), values 0 (paper) to 1 (ink)

    Returns
    -------
    rows : list of lists of Piece
        From top to bottom, each from left to right; empty where there is no ink.
    usual : float
        The usual height of the digits, 0 where there are none.
    """
    parts, boxes = connected_parts(ink > _CLEAR)
    boxes[_tables(boxes), cv2.CC_STAT_AREA :] = 0
    large = _large(boxes)
    if not len(large):
        return [], 0.0
    usual = float(np.median(boxes[large, cv2.CC_STAT_HEIGHT]))
    sides = np.maximum(boxes[:, cv2.CC_STAT_HEIGHT], boxes[:, cv2.CC_STAT_WIDTH])
    kept = [part for part in range(1, len(boxes)) if sides[part] >= _SPECK * usual and boxes[part, cv2.CC_STAT_AREA]]
    groups = _joined([[part] for part in kept], boxes, usual)
    pieces = [_piece(ink, parts, boxes, group) for group in groups]
    rows = _rows(pieces, usual)
    return [[cut for piece in row for cut in _cut(piece, usual)] for row in rows], usual


def join(pieces: list[Piece]) -> Piece:
    """Put pieces together."""
    boxes = np.array([piece.box for piece in pieces])
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    ink = np.zeros((bottom - top, right - left), np.float32)
    for piece in pieces:
        here = (
            slice(piece.box[1] - top, piece.box[3] - top),
            slice(piece.box[0] - left, piece.box[2] - left),
        )
        ink[here] = np.maximum(ink[here], piece.ink)
    return Piece((left, top, right, bottom), ink, pieces[0].cut)


def _tables(boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Mark the parts that are no digits but lie around three or more: the lines of a table."""
    left, top, width, height, area = boxes.T
    some = area >= 0.002 * area[1:].max(initial=0)
    some[0] = False
    inside = (
        (left[:, None] < left)
        & (top[:, None] < top)
        & (left[:, None] + width[:, None] > left + width)
        & (top[:, None] + height[:, None] > top + height)
    )
    around = (inside & some).sum(axis=1) >= 3
    around[0] = False  # the paper
    return around


def _large(boxes: NDArray[np.int32]) -> NDArray[np.intp]:
    """Find the parts that can be a whole digit: of the tallest ones' order, not of a speck's."""
    heights, areas = boxes[1:, cv2.CC_STAT_HEIGHT].astype(float), boxes[1:, cv2.CC_STAT_AREA].astype(float)
    if not areas.any():
        return np.zeros(0, np.intp)
    order = heights.argsort()
    share = np.cumsum(areas[order]) / max(areas.sum(), 1)
    tall = heights[order][np.searchsorted(share, 0.5)]  # half of the ink is in parts at least so tall
    return 1 + np.flatnonzero((heights >= 0.5 * tall) & (areas > 0))


def _joined(groups: list[list[int]], boxes: NDArray[np.int32], usual: float) -> list[list[int]]:
    """Join parts that lie above each other and are together no taller than a digit, as the bar and the bowl of a 5."""
    placed = [(_around(boxes, group), group) for group in groups]
    changed = True
    while changed:
        changed = False
        placed.sort(key=lambda one: one[0][0])
        for at, (one, group) in enumerate(placed):
            for after in range(at + 1, len(placed)):
                two, other = placed[after]
                if two[0] >= one[2]:
                    break
                overlap = min(one[2], two[2]) - max(one[0], two[0])
                height = max(one[3], two[3]) - min(one[1], two[1])
                small = min(one[3] - one[1], two[3] - two[1]) < 0.75 * usual
                narrow = min(one[2] - one[0], two[2] - two[0])
                if overlap >= 0.5 * narrow and height <= 1.4 * usual and (small or overlap >= 0.9 * narrow):
                    del placed[after]
                    placed[at] = _around(boxes, group + other), group + other
                    changed = True
                    break
            if changed:
                break
    return [group for _, group in placed]


def _around(boxes: NDArray[np.int32], group: list[int]) -> Box:
    left, top, width, height = boxes[group, :4].T
    return int(left.min()), int(top.min()), int((left + width).max()), int((top + height).max())


def _piece(ink: Floats, parts: NDArray[np.int32], boxes: NDArray[np.int32], group: list[int]) -> Piece:
    left, top, right, bottom = _around(boxes, group)
    left, top, right, bottom = max(left - 1, 0), max(top - 1, 0), min(right + 1, ink.shape[1]), min(bottom + 1, ink.shape[0])
    here = parts[top:bottom, left:right]
    mine = np.isin(here, group).astype(np.uint8)
    near = (cv2.dilate(mine, np.ones((3, 3), np.uint8)) > 0) & (np.isin(here, [0, *group]))  # with its soft edges
    return Piece((left, top, right, bottom), np.where(near, ink[top:bottom, left:right], np.float32(0)))


def _rows(pieces: list[Piece], usual: float) -> list[list[Piece]]:
    """Sort pieces into rows: each joins the row whose last pieces are at its height; a row may slope."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.box[0] + piece.box[2]):
        best, most = None, 0.35
        for row in rows:
            near = [other for other in row[-2:] if other.height >= 0.5 * usual] or row[-1:]
            top, bottom = (float(np.mean([other.box[side] for other in near])) for side in (1, 3))
            overlap = (min(bottom, piece.box[3]) - max(top, piece.box[1])) / min(bottom - top, piece.height)
            if overlap > most:
                best, most = row, overlap
        if best is None:
            rows.append([piece])
        else:
            best.append(piece)
    return sorted(rows, key=lambda row: float(np.mean([piece.box[1] + piece.box[3] for piece in row])))


def _cut(piece: Piece, usual: float) -> list[Piece]:
    """Cut a wide piece at its thin places, of which there may be more than digits touch; see `Piece.cut`."""
    tall = max(piece.height, 0.7 * usual)
    if piece.width < _WIDE * tall:
        return [piece]
    thickness = (piece.ink > 0.5).sum(axis=0).astype(np.float32)
    reach = max(1, round(0.04 * tall))
    smooth = cv2.blur(thickness[None], (2 * reach + 1, 1))[0]
    least = max(2, round(0.18 * tall))  # the narrowest piece
    places: list[int] = []
    for at in smooth.argsort(kind="stable"):
        if smooth[at] > 0.35 * tall or len(places) >= 2 * round(piece.width / tall) + 1:
            break
        if all(abs(int(at) - other) >= least for other in [0, piece.width, *places]):
            places.append(int(at))
    ends = [0, *sorted(places), piece.width]
    cuts: list[Piece] = []
    for first, last in pairwise(ends):
        ink = piece.ink[:, first:last]
        rows = np.flatnonzero((ink > 0.5).any(axis=1))
        if len(rows):
            top, bottom = max(int(rows[0]) - 1, 0), min(int(rows[-1]) + 2, piece.height)
            left = piece.box[0]
            box = left + first, piece.box[1] + top, left + last, piece.box[1] + bottom
            cuts.append(Piece(box, np.ascontiguousarray(ink[top:bottom]), bool(cuts)))
    return cuts
