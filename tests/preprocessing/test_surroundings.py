"""What real pictures show besides a digit, each kind made by `tests.drawings`: how many digits must be read correctly."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mnist_utils.preprocessing.ink import find_marks
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.preprocessing.surroundings import clear_surroundings
from mnist_utils.runs.inference import load_model
from tests import drawings
from tests.paths import MODEL

LABELS = np.tile(np.arange(10), 5)


def answers(pictures: list[bytes]) -> np.ndarray:
    images = np.stack([preprocess(picture).image for picture in pictures])
    return np.asarray(load_model(MODEL)(images).argmax(axis=1))


@pytest.mark.parametrize("kind", drawings.KINDS)
def test_at_least_nine_of_ten_digits_are_read_with(kind: str) -> None:
    random = np.random.default_rng(0)
    found = answers([drawings.KINDS[kind](int(label), random) for label in LABELS])
    assert (found == LABELS).sum() >= 45, [*zip(LABELS, found, strict=True)]


def test_a_one_with_a_flag_or_a_foot_is_a_one_whatever_the_pen() -> None:
    pictures = [picture for pen in (8, 14, 24) for picture in drawings.flagged_ones(pen)]
    assert len(pictures) == 150
    assert (answers(pictures) == 1).sum() >= 140


def cropped(label: int, pen: int, *, inverted: bool) -> bytes:
    """Cut a digit out to its very box."""
    sheet = drawings.Sheet((300, 300), drawings.WHITE)
    sheet.digit(label, (90, 60, 110, 170), pen, drawings.BLACK)
    pixels = np.asarray(Image.open(io.BytesIO(sheet.packed())).convert("L"))
    rows, columns = np.flatnonzero((pixels < 128).any(axis=1)), np.flatnonzero((pixels < 128).any(axis=0))
    pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    file = io.BytesIO()
    Image.fromarray(255 - pixels if inverted else pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("inverted", [False, True])
def test_a_digit_cut_out_tightly_is_read_in_both_polarities(inverted: bool) -> None:
    labels = [label for label in range(10) if label != 1]  # of a 1, nothing but ink would be left
    pictures = [cropped(label, pen, inverted=inverted) for pen in (16, 30) for label in labels]
    assert (answers(pictures) == labels * 2).sum() >= 17


@pytest.mark.parametrize("label", range(10))
def test_a_digit_on_empty_paper_is_left_as_it_is(label: int) -> None:
    sheet = drawings.Sheet((300, 260), (240, 238, 230))
    sheet.digit(label, (90, 40, 110, 170), 12, (30, 30, 60))
    marks = find_marks(np.asarray(Image.open(io.BytesIO(sheet.packed())), np.float32) / np.float32(255))
    assert clear_surroundings(marks) is marks
