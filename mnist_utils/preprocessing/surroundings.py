"""What a picture shows around its digit: frames, rules, desk edges, shadows, hairlines. It becomes paper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats
from mnist_utils.preprocessing.ink import Marks, connected_parts, find_marks, stroke_width, vector_length

Mask = NDArray[np.bool_]

_LEAST_DIGIT = 0.05  # a digit's longer side, as a fraction of the picture's
_LEAST_STRETCH = 0.15  # of the picture's shorter side: how far what lies beyond the sheet reaches along the edge
_RULE = 0.75  # a rule covers at least this fraction of the picture's width or height
_AT_EDGE = 0.04  # of the width: how near a rule comes to the picture's edges
_STRAIGHT = 0.1  # of the width: the shortest piece that is taken for a part of a rule
_THIN = 0.4  # a hairline is at most this wide, as a fraction of the digit's strokes


def clear_surroundings(marks: Marks) -> Marks:
    """Paint what is not the digit with the paper's colour: what lies beyond the sheet, rules, hairlines.

    Each is removed only if something that can be a digit remains.

    Parameters
    ----------
    marks : Marks
        From `find_marks`.

    Returns
    -------
    Marks
        Of the painted picture; the same object if nothing was removed.
    """
    for find in (_beyond_the_sheet, _beyond_the_sheet, _rules, _hairlines):
        found = find(marks)
        if found is not None and (_can_be_digit(marks.mask & ~found) or _is_edge_line(found)):
            marks = find_marks(_paint_over(marks, found))
    return marks


def _can_be_digit(mask: Mask) -> bool:
    """Say whether a part of the mask away from the picture's edge has the size and the strength of a digit."""
    _, boxes = connected_parts(mask)
    height, width = mask.shape
    left, top, columns, rows, area = boxes[1:].T
    away = (left > 0) & (top > 0) & (left + columns < width) & (top + rows < height)
    large = np.maximum(rows, columns) >= max(_LEAST_DIGIT * max(mask.shape), 6)
    return bool((away & large & (area >= 12)).any())


def _is_edge_line(found: Mask) -> bool:
    """Say whether something lies along the picture's very edge, as where a screenshot was cut a pixel too wide."""
    margin = 1 + round(0.03 * max(found.shape))
    return not found[margin:-margin, margin:-margin].any()


def _paint_over(marks: Marks, found: Mask) -> Floats:
    """Fill with the paper's colour; in uneven light, with that of the nearest paper."""
    painted = marks.colour.copy()
    if marks.paper.ndim == 1:
        painted[found] = marks.paper
        return painted
    height, width = found.shape
    scale = 48 / max(height, width)
    size = max(2, round(scale * width)), max(2, round(scale * height))
    paper = (~(found | marks.mask)).astype(np.float32)
    near = cv2.resize(np.dstack([marks.colour * paper[..., None], paper]), size, interpolation=cv2.INTER_AREA)
    around = sum(weight * cv2.GaussianBlur(near, (0, 0), sigma) for sigma, weight in ((1.5, 1.0), (6.0, 1e-2), (24.0, 1e-4)))
    filled = cv2.resize(around[..., :3] / np.maximum(around[..., 3:], 1e-9), (width, height))
    painted[found] = filled[found]
    return painted


# --- beyond the sheet -----------------------------------------------------------------------------------------


def _beyond_the_sheet(marks: Marks) -> Mask | None:
    """Find what enters from outside along a stretch of the edge: a desk, a finger, a shadow, a coloured band.

    It has the colour that it has at the edge, so that a digit in front of it, in another colour, stays. A digit that fills
    the picture touches the edge too, but at three places or more, or leaves nothing else that can be a digit.
    """
    rows, columns = _outline(marks.mask.shape)
    run = max(_runs(marks.mask[rows, columns], shortest=_LEAST_STRETCH * min(marks.mask.shape)), key=len, default=None)
    if run is None:
        return None
    strongest = run[marks.strength[rows[run], columns[run]].argsort()[-max(1, len(run) // 4) :]]  # a shadow's edge is soft
    at_edge = np.median(marks.colour[rows[strongest], columns[strongest]], axis=0)
    paper = _paper_at(marks, (rows[run], columns[run]))
    parts, _ = connected_parts(marks.mask)
    behind = marks.mask & _is_mixture(marks.colour, at_edge, paper)
    layer = behind & np.isin(parts, np.unique(parts[rows[run], columns[run]]))
    places = len(_runs(layer[rows, columns], shortest=0.02 * max(layer.shape)))
    rest = marks.mask & ~layer
    if places > 2 or (places == 2 and rest.sum() < 0.3 * layer.sum()):
        return None
    margin = 1 + round(0.012 * max(layer.shape))
    return (cv2.dilate(layer.astype(np.uint8), np.ones((2 * margin + 1,) * 2, np.uint8)) > 0) & ~(rest & ~behind)


def _paper_at(marks: Marks, where: Mask | tuple[NDArray[np.intp], NDArray[np.intp]]) -> Floats:
    """Return the one colour of the paper, or the usual one of some pixels."""
    return marks.paper if marks.paper.ndim == 1 else np.median(marks.paper[where], axis=0)


def _is_mixture(colour: Floats, one: Floats, paper: Floats) -> Mask:
    """Mark the mixtures of a colour and the paper's, as in a soft edge, or what has the same hue and is a bit stronger."""
    direction = one - paper
    share = (colour - paper) @ direction / max(float(direction @ direction), 1e-6)
    beside = np.ascontiguousarray(colour - paper - share[..., None] * direction, np.float32)
    return (vector_length(beside) < 0.15) & (share > 0) & (share < 1.3)


def _outline(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and the columns of the pixels along a picture's edge, once around."""
    height, width = shape
    right, down = np.arange(width), np.arange(height)
    rows = np.concatenate([np.zeros_like(right), down, np.full_like(right, height - 1), down[::-1]])
    return rows, np.concatenate([right, np.full_like(down, width - 1), right[::-1], np.zeros_like(down)])


def _runs(marked: Mask, *, shortest: float) -> list[NDArray[np.intp]]:
    """List the runs of a closed line that are marked and at least so long, each as the places of its pixels."""
    if marked.all():
        return [np.arange(len(marked))]
    start = int(marked.argmin())  # begin where nothing is marked, so that no run is cut
    order = np.roll(np.arange(len(marked)), -start)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], marked[order].astype(np.int8), [0]])))
    return [order[first:last] for first, last in ends.reshape(-1, 2) if last - first >= shortest]


# --- rules and hairlines ----------------------------------------------------------------------------------------


def _rules(marks: Marks) -> Mask | None:
    """Find the rules of lined or squared paper: thin straight lines from edge to edge, level or upright.

    A single line could be the bar of a digit; it is a rule if it is thinner than the strokes or of another strength.
    """
    level, upright = _level_rules(marks.mask), [rule.T for rule in _level_rules(marks.mask.T)]
    if not level and not upright:
        return None
    both = np.logical_or.reduce(level + upright)
    rest = marks.mask & ~both
    if not both.any() or not rest.any():
        return None
    same = abs(float(np.median(marks.strength[both])) - float(np.median(marks.strength[rest]))) < 0.1
    thin = stroke_width(both) < max(0.6 * stroke_width(rest), 0.02 * max(rest.shape))
    if same and not thin and max(len(level), len(upright)) < 3:
        return None
    if not same:  # not the stroke along a rule, but what is left of one where a stroke crosses it or it ends in the picture
        usual = np.median(marks.colour[both], axis=0)
        both = marks.mask & _is_mixture(marks.colour, usual, _paper_at(marks, both))
    return _widened(both)


def _level_rules(mask: Mask) -> list[Mask]:
    """List the rules that are almost level, without what crosses them."""
    height, width = mask.shape
    margin = 1 + int(_AT_EDGE * width)
    if not mask[:, :margin].any() or not mask[:, -margin:].any():
        return []
    thick = cv2.dilate(mask.astype(np.uint8), np.ones((3, 1), np.uint8))
    pieces = cv2.morphologyEx(thick, cv2.MORPH_OPEN, np.ones((1, max(5, round(_STRAIGHT * width))), np.uint8))
    pieces = cv2.dilate(pieces, np.ones((3, 2 * round(0.02 * width) + 1), np.uint8)) > 0  # joins pieces of a sloping line
    parts, boxes = connected_parts(pieces)
    found = []
    for part in range(1, len(boxes)):
        left, top, columns, rows, _ = boxes[part]
        at_edges = left <= _AT_EDGE * width and left + columns >= (1 - _AT_EDGE) * width
        if not at_edges or rows > 0.12 * max(height, width):
            continue
        here = slice(top, top + rows), slice(left, left + columns)
        piece = (parts[here] == part) & mask[here]
        known = piece.any(axis=0)
        thickness = piece.sum(axis=0)
        usual = float(np.median(thickness[known])) if known.any() else 0.0
        if known.mean() < _RULE or usual > 0.03 * max(height, width) + 1:
            continue
        y = np.arange(rows)[:, None]
        line = _smooth_line((piece * y).sum(axis=0) / np.maximum(thickness, 1), known)
        # Where a stroke crosses the rule, there is ink above or below it too.
        reach = usual + 2
        across = np.arange(left, left + columns)
        beside = [np.clip(np.round(top + line + side * reach).astype(int), 0, height - 1) for side in (-1, 1)]
        crossed = mask[beside[0], across] | mask[beside[1], across]
        rule = np.zeros_like(mask)
        rule[here] = mask[here] & (np.abs(y - line) <= usual / 2 + 1.5) & ~crossed
        found.append(rule)
    return found


def _smooth_line(height: NDArray[np.float64], known: Mask) -> NDArray[np.float64]:
    """Fit a parabola to the heights that are known; paper may be bent."""
    at = np.linspace(-1, 1, len(height))
    powers = np.stack([np.ones_like(at), at, at**2], axis=1)
    fitted = np.linalg.lstsq(powers[known], height[known], rcond=None)[0]
    return np.asarray(powers @ fitted)


def _hairlines(marks: Marks) -> Mask | None:
    """Find lines much thinner than the strokes that come in from the edge, across the digit perhaps."""
    rows, columns = _outline(marks.mask.shape)
    if len(_runs(marks.mask[rows, columns], shortest=1)) < 2:
        return None
    inside = cv2.distanceTransform(np.pad(marks.mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    size = int(_THIN * 2 * float(np.quantile(inside[marks.mask], 0.98)))
    if size < 2:
        return None
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size + 1, size + 1))
    bold = cv2.morphologyEx(marks.mask.astype(np.uint8), cv2.MORPH_OPEN, disk)
    if bold.sum() < 0.4 * marks.mask.sum():
        return None
    thin = marks.mask & ~(cv2.dilate(bold, disk, iterations=2) > 0)
    _, boxes = connected_parts(thin)
    left, top, columns, rows, _ = boxes.T
    height, across = thin.shape
    at_edge = (left == 0) | (top == 0) | (left + columns == across) | (top + rows == height)
    if (at_edge & (np.maximum(rows, columns) > 0.05 * max(thin.shape)))[1:].sum() < 2:
        return None
    return _widened(marks.mask & ~(cv2.dilate(bold, disk) > 0))


def _widened(mask: Mask) -> Mask:
    """Add the soft edges."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
