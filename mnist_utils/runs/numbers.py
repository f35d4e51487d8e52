"""A picture of several digits -> rows of digits: which pieces form a digit, and which digit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Floats, Images
from mnist_utils.preprocessing.center import center_digit
from mnist_utils.preprocessing.decode import MANY_DIGITS, ImageError, Polarity, decode_picture
from mnist_utils.preprocessing.pieces import MOST_PIECES, Piece, find_rows, join
from mnist_utils.preprocessing.reader import read_ink
from mnist_utils.preprocessing.segment import LEAST_SIDE, widen_strokes
from mnist_utils.runs.inference import Predict

_MOST_DIGITS = 500  # of one picture: a page of text has more pieces, and no number

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
    label : int
    probability : float
        Calibrated, that it is this digit.
    box : (left, top, right, bottom)
        As fractions of the picture's width and height.
    image : uint8 array, shape (28, 28), white on black
        What the model saw.
    """

    label: int
    probability: float
    box: tuple[float, float, float, float]
    image: Images


def predict_digits(
    picture: Path | bytes, predict: Predict, *, polarity: Polarity = "auto"
) -> tuple[list[list[DigitInPicture]], Floats]:
    """Predict all digits of a picture, in reading order.

    Parameters
    ----------
    picture : Path or bytes
        See `preprocessing.reader.preprocess`.
    predict : callable
        From `load_model`, or `Run.predict`; called once.
    polarity : {"auto", "dark-on-light", "light-on-dark"}

    Returns
    -------
    rows : list of lists of DigitInPicture
        From top to bottom, each from left to right; at least one digit.
    picture : float array, shape (height, width, 3), values 0 to 1
        The picture, upright.

    Raises
    ------
    ImageError
        If the picture cannot be read or shows no digit.
    """
    read = read_ink(decode_picture(picture, MANY_DIGITS), polarity)
    rows, usual = find_rows(read.ink)
    if usual < LEAST_SIDE:
        raise ImageError("no digit", f"nothing larger than {LEAST_SIDE} pixels stands out")
    if sum(map(len, rows)) > _MOST_DIGITS:
        raise ImageError("no digit", f"{sum(map(len, rows))} pieces, as in noise or text")
    spans = [(row, start, stop) for row in range(len(rows)) for start, stop in _spans(rows[row], usual)]
    joined = [join(rows[row][start:stop]) for row, start, stop in spans]
    images = np.stack([center_digit(widen_strokes(piece.ink)[0]) for piece in joined])
    probabilities = predict(images)
    height, width, (left, top) = *read.colour.shape[:2], read.corner
    found = []
    for row, pieces in enumerate(rows):
        mine = {span[1:]: at for at, span in enumerate(spans) if span[0] == row}
        chosen = _cheapest(pieces, usual, {ends: float(probabilities[at].max()) for ends, at in mine.items()})
        digits = []
        for ends in chosen:
            at = mine[ends]
            box = joined[at].box
            placed = (left + box[0]) / width, (top + box[1]) / height, (left + box[2]) / width, (top + box[3]) / height
            label = int(probabilities[at].argmax())
            fractions = tuple(round(side, 4) for side in placed)
            digits.append(DigitInPicture(label, float(probabilities[at][label]), fractions, images[at]))
        if digits:
            found.append(digits)
    if not found:
        raise ImageError("no digit", "nothing in it has the size of a digit")
    return found, read.colour


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


def _cheapest(pieces: list[Piece], usual: float, confidence: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Choose the spans that cover a row at the least cost (Viterbi), some pieces skipped."""
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
    return chosen[::-1]


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


def edit_distance(one: str, other: str) -> int:
    """Count the digits to insert, delete or replace that turn one number into the other (Levenshtein 1966)."""
    row: NDArray[np.int64] = np.arange(len(other) + 1)
    for at, letter in enumerate(one, 1):
        before, row = row, np.full(len(other) + 1, at)
        for place, wanted in enumerate(other, 1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (letter != wanted))
    return int(row[-1])
