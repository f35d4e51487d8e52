"""A picture of several digits -> rows of digits: which pieces form a digit, and which digit."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats, Images
from mnist_utils.preprocessing.center import center_digit
from mnist_utils.preprocessing.decode import MANY_DIGITS, ImageError, Polarity, decode_picture
from mnist_utils.preprocessing.pieces import MOST_PIECES, Piece, find_rows, join
from mnist_utils.preprocessing.reader import PictureInk, read_ink
from mnist_utils.preprocessing.segment import LEAST_SIDE, widen_strokes
from mnist_utils.runs.inference import PicturePrediction, Predict, predict_picture, unlike_digits

Box = tuple[float, float, float, float]

_MOST_PIECES = 500  # of one picture: a page of text has more, and no number
_SURE, _ALIKE = 0.9, 0.65  # several digits have at least this probability each, and this height, relative to the tallest
_MANY = 4  # fewer digits do not lie on their side: in some direction, a few strokes always look like digits
_BROAD_ONE = 0.7  # width to height of a 1: few are broader
_UPRIGHT = 1.0  # cost of a digit in the mean above which the picture may lie on its side

# What a way to put pieces together costs, beside what the model says of each digit: -log of its probability.
_CUT = 2.0  # two digits that touch
_JOIN, _GAP = 1.0, 12.0  # two pieces of one digit; and for each height of a digit that they are apart
_BROAD, _MOST_BROAD = 4.0, 1.1  # for each height that a digit is broader than this
_LOW = 4.0  # for each height that a digit lacks to two thirds of the usual
_SKIP = 2.0, 5.0  # a piece that is no digit; and for each usual height that it is tall


@dataclass(frozen=True)
class DigitInPicture:
    """One of a picture's digits.

    Attributes
    ----------
    probabilities : float32 array, shape (10,)
        Of the digits, calibrated.
    box : (left, top, right, bottom)
        As fractions of the picture's width and height.
    image : uint8 array, shape (28, 28), white on black
        What the model saw.
    """

    probabilities: NDArray[np.float32]
    box: Box
    image: Images

    @property
    def label(self) -> int:
        """The most probable digit."""
        return int(self.probabilities.argmax())

    @property
    def probability(self) -> float:
        """Of the most probable digit."""
        return float(self.probabilities.max())

    @property
    def unlike_digits(self) -> bool:
        """Whether it is unlike the digits that the model was trained on, see `inference.unlike_digits`."""
        return unlike_digits(self.probabilities)


@dataclass(frozen=True)
class PictureDigits:
    """The digits of a picture.

    Attributes
    ----------
    rows : list of lists of DigitInPicture
        From top to bottom, each from left to right; at least one digit.
    colour : float array, shape (height, width, 3), values 0 to 1
        The picture, as its EXIF data says that it was held.
    turned : int
        Quarter turns, counterclockwise, after which the digits stand upright; 0 to 3.
    inverted : bool
        Whether the ink is darker than the paper.
    """

    rows: list[list[DigitInPicture]]
    colour: Floats
    turned: int
    inverted: bool

    @property
    def number(self) -> str:
        """The rows as text, a line each."""
        return "\n".join("".join(str(digit.label) for digit in row) for row in self.rows)

    @property
    def digits(self) -> list[DigitInPicture]:
        """All digits in reading order."""
        return [digit for row in self.rows for digit in row]

    @property
    def are_several(self) -> bool:
        """Whether these are two digits or more without doubt, not the strokes of one."""
        side = 1 - self.turned % 2  # of the box: 1 up and down, 0 across
        heights = [digit.box[side + 2] - digit.box[side] for digit in self.digits]
        sure = min(digit.probability for digit in self.digits) >= _SURE
        if {digit.label for digit in self.digits} == {1} and (len(self.rows) > 1 or self._broadest() > _BROAD_ONE):
            return False  # strokes of one digit in pieces: a broken 1, an open 4, seven segments
        return len(heights) > 1 and sure and min(heights) >= _ALIKE * max(heights)

    def _broadest(self) -> float:
        return max(digit.image.any(axis=0).sum() / digit.image.any(axis=1).sum() for digit in self.digits)


def predict_digits(
    picture: Path | bytes, predict: Predict, *, polarity: Polarity = "auto", side: int = MANY_DIGITS
) -> PictureDigits:
    """Predict all digits of a picture, in reading order; those of a page that lies on its side too.

    Parameters
    ----------
    picture : Path or bytes
        See `preprocessing.reader.preprocess`.
    predict : callable
        From `load_model`, or `Run.predict`; called once, and again if the picture may lie on its side.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
    side : int
        The longer side that the picture is shrunk to, in pixels: less is quicker, and enough for a few digits.

    Raises
    ------
    ImageError
        If the picture cannot be read or shows no digit.
    """
    read = read_ink(decode_picture(picture, side), polarity)
    (rows, cost), turned = _read_rows(read.ink, predict), 0
    if cost > _UPRIGHT:
        for turn in 1, 3, 2:
            other, its_cost = _read_rows(np.ascontiguousarray(np.rot90(read.ink, turn)), predict)
            if its_cost < 0.5 * cost and sum(map(len, other)) >= _MANY:
                rows, cost, turned = other, its_cost, turn
    if all(digit.unlike_digits for row in rows for digit in row):
        raise ImageError("no digit", f"nothing larger than {LEAST_SIDE} pixels has the form of one")
    placed = [[replace(digit, box=_place(digit.box, turned, read)) for digit in row] for row in rows]
    return PictureDigits(placed, read.colour, turned, read.inverted)


def predict_one_or_many(
    picture: Path | bytes, predict: Predict, *, polarity: Polarity = "auto"
) -> PicturePrediction | PictureDigits:
    """Predict which digit a picture shows, or all of them if it shows several.

    Parameters
    ----------
    picture, predict, polarity
        As of `predict_digits`.

    Raises
    ------
    ImageError
        If the picture cannot be read or shows no digit.
    """
    try:
        one = predict_picture(picture, predict, polarity=polarity)
    except ImageError as error:
        if error.kind != "no digit":
            raise
        many = predict_digits(picture, predict, polarity=polarity)  # too many pieces for one digit, perhaps
        if many.are_several:
            return many
        raise
    if one.seen.may_be_several:
        with contextlib.suppress(ImageError):
            many = predict_digits(picture, predict, polarity=polarity)
            if many.are_several:
                return many
    return one


def _place(box: Box, turned: int, read: PictureInk) -> Box:
    """Turn a box of pixels of the ink into fractions of the picture."""
    across, along = (box[0], box[2]), (box[1], box[3])
    rows, columns = read.ink.shape
    for before in reversed(range(turned)):  # back, a quarter clockwise each
        width = rows if before % 2 else columns
        across, along = (width - along[1], width - along[0]), across
    height, width = read.colour.shape[:2]
    left, top = read.corner
    fractions = (left + across[0]) / width, (top + along[0]) / height, (left + across[1]) / width, (top + along[1]) / height
    return tuple(round(float(side), 4) for side in fractions)  # type: ignore[return-value]


def _read_rows(ink: Floats, predict: Predict) -> tuple[list[list[DigitInPicture]], float]:
    """Read the digits of upright ink, their boxes in its pixels; return also what they cost in the mean."""
    rows, usual = find_rows(ink)
    pieces = sum(map(len, rows))
    if usual < LEAST_SIDE or pieces > _MOST_PIECES:
        return [], np.inf
    spans = [(row, start, stop) for row in range(len(rows)) for start, stop in _spans(rows[row], usual)]
    joined = [join(rows[row][start:stop]) for row, start, stop in spans]
    images = np.stack([center_digit(widen_strokes(piece.ink)[0]) for piece in joined])
    probabilities = predict(images)
    found, cost = [], 0.0
    for row, some in enumerate(rows):
        mine = {span[1:]: at for at, span in enumerate(spans) if span[0] == row}
        chosen, its_cost = _cheapest(some, usual, {ends: float(probabilities[at].max()) for ends, at in mine.items()})
        digits = [DigitInPicture(probabilities[at], joined[at].box, images[at]) for at in (mine[ends] for ends in chosen)]
        cost += its_cost
        if digits:
            found.append(digits)
    return found, cost / max(sum(map(len, found)), 1)


def _spans(pieces: list[Piece], usual: float) -> list[tuple[int, int]]:
    """List the neighbours that can be one digit, as (first, one after the last)."""
    spans = []
    for start in range(len(pieces)):
        for stop in range(start + 1, min(start + MOST_PIECES, len(pieces)) + 1):
            some = pieces[start:stop]
            broad = max(piece.box[2] for piece in some) - min(piece.box[0] for piece in some)
            if stop > start + 1 and broad > 1.6 * usual:
                break
            spans.append((start, stop))
    return spans


def _cheapest(
    pieces: list[Piece], usual: float, confidence: dict[tuple[int, int], float]
) -> tuple[list[tuple[int, int]], float]:
    """Choose the spans that cover a row at the least cost (Viterbi), some pieces skipped; return also the cost."""
    costs, before = np.full(len(pieces) + 1, np.inf), [(-1, False)] * (len(pieces) + 1)
    costs[0] = 0
    for stop in range(1, len(pieces) + 1):
        skipped = costs[stop - 1] + _SKIP[0] + _SKIP[1] * pieces[stop - 1].height / usual
        costs[stop], before[stop] = skipped, (stop - 1, False)
        for start in range(max(0, stop - MOST_PIECES), stop):
            if (start, stop) in confidence:
                cost = costs[start] + _cost(pieces[start:stop], usual, confidence[start, stop])
                if cost < costs[stop]:
                    costs[stop], before[stop] = cost, (start, True)
    chosen, stop = [], len(pieces)
    while stop:
        start, taken = before[stop]
        if taken:
            chosen.append((start, stop))
        stop = start
    return chosen[::-1], float(costs[-1])


def _cost(pieces: list[Piece], usual: float, confidence: float) -> float:
    boxes = np.array([piece.box for piece in pieces])
    width = float(boxes[:, 2].max() - boxes[:, 0].min())
    height = float(boxes[:, 3].max() - boxes[:, 1].min())
    cost = -np.log(max(confidence, 1e-6)) + _CUT * pieces[0].cut
    for one, other in pairwise(pieces):
        if not other.cut:
            cost += _JOIN + _GAP * max(0, other.box[0] - one.box[2]) / usual
    cost += _BROAD * max(0.0, width / max(height, 0.7 * usual) - _MOST_BROAD) + _LOW * max(0.0, 0.67 - height / usual)
    return float(cost)
