"""Any picture of a digit -> the (28, 28) array that models take, with a record of the steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mnist_utils._support.arrays import Floats, Images
from mnist_utils.preprocessing.center import center_digit
from mnist_utils.preprocessing.decode import ImageError, Polarity, decode_picture, enlarge
from mnist_utils.preprocessing.frames import cut_box, find_frame
from mnist_utils.preprocessing.ink import border_pixels, check_contrast, find_ink, find_marks, to_grey
from mnist_utils.preprocessing.segment import LEAST_SIDE, keep_strokes, widen_strokes
from mnist_utils.preprocessing.surroundings import clear_surroundings

_BROAD = 1.1  # width to height: few digits are broader
_SOFT = 0.1  # the least share of MNIST's digits' pixels that are grey, a few digits apart


@dataclass(frozen=True)
class PreprocessedImage:
    """A picture as a model's input, and how it was made.

    Attributes
    ----------
    image : uint8 array, shape (28, 28), white on black
    inverted : bool
        Whether the picture was dark on light.
    crop : (left, top, right, bottom)
        The digit's bounding box, as fractions of the picture's width and height.
    frames : int
        Number of frames (a border, the axes of a plot) removed from around the digit.
    stroke : float
        Stroke width as a fraction of the digit's longer side, before thin strokes were widened.
    may_be_several : bool
        Whether it has the form of several digits: pieces apart, or broader than a digit.
    steps : dict of str to array
        The picture after each step, values 0 to 1, for `plots.preprocessing_steps`.
    """

    image: Images
    inverted: bool
    crop: tuple[float, float, float, float]
    frames: int = 0
    stroke: float = 0.0
    may_be_several: bool = False
    steps: dict[str, Floats] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class PictureInk:
    """The ink of a picture, and where it lies.

    Attributes
    ----------
    colour : float array, shape (height, width, 3), values 0 to 1
        The picture, enlarged if it was small.
    cleared : float array or None
        The part inside the innermost frame, its surroundings painted over; None if there was nothing to remove.
    ink : float array, shape of that part, values 0 (paper) to 1 (ink)
    corner : (left, top), pixels
        Where in the picture that part begins.
    inverted : bool
        Whether the ink is darker than the paper.
    frames : int
        Number of frames around that part.
    """

    colour: Floats
    cleared: Floats | None
    ink: Floats
    corner: tuple[int, int]
    inverted: bool
    frames: int


def read_ink(colour: Floats, polarity: Polarity = "auto", *, framed: bool = True) -> PictureInk:
    """Find the ink of an upright picture.

    Parameters
    ----------
    colour : float array, shape (height, width, 3), values 0 to 1
    polarity : {"auto", "dark-on-light", "light-on-dark"}
    framed : bool
        Whether a frame around the ink is taken for one; else it is ink.

    Raises
    ------
    ImageError
        If nothing stands out.
    """
    colour = enlarge(colour)
    boxes = [(0, 0, *colour.shape[:2])]
    while framed and len(boxes) < 4 and (inside := find_frame(cut_box(colour, boxes[-1]))):
        top, left = boxes[-1][:2]
        boxes.append((top + inside[0], left + inside[1], top + inside[2], left + inside[3]))
    marks = find_marks(cut_box(colour, boxes[-1]))
    cleared = clear_surroundings(marks)
    ink, inverted = find_ink(cleared, polarity)
    removed = len(boxes) > 1 or cleared is not marks
    return PictureInk(colour, cleared.colour if removed else None, ink, boxes[-1][1::-1], inverted, len(boxes) - 1)


def preprocess(picture: Path | bytes, *, polarity: Polarity = "auto") -> PreprocessedImage:
    """Turn a picture into a model's input.

    Parameters
    ----------
    picture : Path or bytes
        A PNG, JPEG, HEIC, AVIF, WebP, TIFF, GIF (first frame) or BMP file, or its content.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        ``auto``: whatever stands out from its surroundings is ink.

    Raises
    ------
    ImageError
        If the picture is missing, too large (`MAX_BYTES`, `MAX_PIXELS`, `MAX_SIDE`), not a picture, or shows no digit.
    """
    colour = decode_picture(picture)
    if colour.shape[:2] == (28, 28) and (ready := _preprocess_mnist_like(colour, polarity)):
        return ready
    try:
        return _place(read_ink(colour, polarity))
    except ImageError as error:
        if error.kind != "no digit" or not find_frame(enlarge(colour)):
            raise
        return _place(read_ink(colour, polarity, framed=False))  # an outlined square, which held nothing


def _place(read: PictureInk) -> PreprocessedImage:
    """Cut the strokes out of a picture's ink, and place them as a model's input."""
    colour, (left, top), ink = read.colour, read.corner, read.ink
    kept, pieces = keep_strokes(ink)
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept.any(axis=0))
    if not len(rows) or max(np.ptp(rows), np.ptp(columns)) < LEAST_SIDE:
        raise ImageError("no digit", f"nothing larger than {LEAST_SIDE} pixels stands out")
    digit = kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    widened, stroke = widen_strokes(digit)
    height, width = colour.shape[:2]
    crop = (
        (left + columns[0]) / width,
        (top + rows[0]) / height,
        (left + columns[-1] + 1) / width,
        (top + rows[-1] + 1) / height,
    )
    return PreprocessedImage(
        center_digit(widened),
        read.inverted,
        (round(crop[0], 4), round(crop[1], 4), round(crop[2], 4), round(crop[3], 4)),
        frames=read.frames,
        stroke=round(stroke, 3),
        may_be_several=pieces > 1 or digit.shape[1] > _BROAD * digit.shape[0],
        steps={
            "upright": colour,
            **({} if read.cleared is None else {"without surroundings": read.cleared}),
            "ink": ink,
            "strokes": kept,
            "cut out": widened,
        },
    )


def _preprocess_mnist_like(colour: Floats, polarity: Polarity) -> PreprocessedImage | None:
    """Use a picture that already has MNIST's form without cropping, which could only harm it; None if it has not.

    In MNIST's form, the digit's centre of mass is within half a pixel of (14, 14), its box is at most 20x20, and its edges
    are soft. What a paint program or somebody's threshold made of 28x28 pixels has hard edges.
    """
    grey = np.round(255 * to_grey(colour))  # whole numbers: a picture and its negative give identical results
    paper = float(np.median(border_pixels(grey)))
    inverted = bool(paper - grey.min() > grey.max() - paper) if polarity == "auto" else polarity == "dark-on-light"
    ink = np.clip(paper - grey if inverted else grey - paper, 0, None)
    contrast = float(ink.max())
    check_contrast(contrast / 255)
    ink /= contrast
    rows, columns = ink.sum(axis=1), ink.sum(axis=0)
    off = max(abs(float(sums @ np.arange(28) / ink.sum()) - 14) for sums in (rows, columns))
    if off > 0.75 or max(np.ptp(np.flatnonzero(sums)) for sums in (rows, columns)) > 21:
        return None
    if ((ink > 0.15) & (ink < 0.85)).sum() < _SOFT * (ink > 0.15).sum():
        return None
    return PreprocessedImage(
        np.round(255 * ink).astype(np.uint8), inverted, (0.0, 0.0, 1.0, 1.0), steps={"upright": colour, "ink": ink}
    )
