"""Digits that MNIST has few of: drawn with a computer's pen, printed, or shown in seven segments, in MNIST's form.

MNIST was written by Americans with pens in the 1990s. People elsewhere give a 1 a flag and a foot, cross their 7, and bring
what a mouse drew or a printer printed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_utils._support.arrays import Images, Labels
from mnist_utils.preprocessing.center import center_digit

Points = NDArray[np.float64]
Strokes = list[Points]  # each of shape (n, 2): x and y in a box of height 1 and width 0.6, y downwards

SIDE, _SIZE, _HEIGHT = 128, 90, 64  # pixels: the sheet, a font on it, and a drawn digit before it is changed
_PRINTED, _SEGMENTS, _HARD = 0.25, 0.1, 0.25  # shares: of printed digits, of segments, of drawings without soft edges
_FONTS = ("DejaVu", "STIXGeneral", "cmr10", "cmb10", "cmss10", "cmtt10")
_SEGMENTS_OF = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_CORNERS = {"a": (0, 0, 1, 0), "b": (1, 0, 1, 1), "c": (1, 1, 1, 2), "d": (0, 2, 1, 2), "e": (0, 1, 0, 2), "f": (0, 0, 0, 1)}
_CORNERS["g"] = (0, 1, 1, 1)


def draw_digits(labels: Labels, random: np.random.Generator) -> Images:
    """Draw a digit for each label, each in another hand, pen and slant; some are printed, some are seven segments.

    Parameters
    ----------
    labels : uint8 array, shape (n,), values 0 to 9
    random : numpy.random.Generator

    Returns
    -------
    uint8 array, shape (n, 28, 28), white on black, placed as MNIST places its digits
    """
    drawn = np.empty((len(labels), 28, 28), np.uint8)
    kinds = random.choice(3, len(labels), p=[1 - _PRINTED - _SEGMENTS, _PRINTED, _SEGMENTS])
    for at, (label, kind) in enumerate(zip(labels, kinds, strict=True)):
        ink = (
            _print_digit(int(label), random)
            if kind == 1
            else _draw(strokes_of(int(label), random, segments=kind == 2), random)
        )
        drawn[at] = center_digit(ink.astype(np.float32) / np.float32(255))
    return drawn


def strokes_of(label: int, random: np.random.Generator, *, segments: bool = False) -> Strokes:
    """Sample the strokes of a digit in somebody's hand, or in seven segments with gaps."""
    if segments:
        return _seven_segments(label, random)
    wobble = random.uniform(0, 0.035)
    return [points + random.normal(0, wobble, points.shape) for points in _HANDS[label](random)]


def _draw(strokes: Strokes, random: np.random.Generator) -> Images:
    hard = random.random() < _HARD
    height = random.uniform(14, 24) if hard else _HEIGHT
    side = round(2 * height)
    width = max(1.0, height * np.exp(random.uniform(np.log(0.06), np.log(0.2))))
    change = random_map(random)
    sheet = np.zeros((side, side), np.uint8)
    for points in strokes:
        placed = (points - (0.3, 0.5)) @ change.T * height + side / 2
        cv2.polylines(
            sheet,
            [np.round(smooth(placed) * 16).astype(np.int32)],
            isClosed=False,
            color=255,
            thickness=max(1, round(width)),
            lineType=cv2.LINE_8 if hard else cv2.LINE_AA,
            shift=4,
        )
    return cv2.resize(sheet, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) if hard else sheet


def random_map(random: np.random.Generator) -> NDArray[np.float64]:
    """Sample a digit's slant (shear up to 0.35), turn (up to 12 degrees) and width (0.6 to 1.4 of the usual)."""
    angle = np.deg2rad(random.uniform(-12, 12))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(turn @ [[np.exp(random.uniform(-0.5, 0.35)), random.uniform(-0.35, 0.15)], [0, 1]])


def smooth(points: Points) -> Points:
    """Cut corners three times (Chaikin), so that a polyline becomes a curve; the ends stay."""
    if len(points) < 3:
        return points
    for _ in range(3):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut[1:-1], points[-1:]])
    return points


def _arc(x: float, y: float, across: float, down: float, start: float, stop: float) -> Points:
    """Return points of an ellipse around (x, y), from one angle to another: degrees, clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, stop, 16))
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1)


def _line(*points: tuple[float, float]) -> Points:
    return np.array(points, np.float64)


# --- the ten digits, as people write them -------------------------------------------------------------------


def _zero(random: np.random.Generator) -> Strokes:
    start = random.uniform(-150, -40)
    return [_arc(0.3, 0.5, 0.3, 0.5, start, start + random.choice([-1, 1]) * random.uniform(340, 385))]


def _one(random: np.random.Generator) -> Strokes:
    """Draw a stem, most often with a flag at its top, 24 to 75 degrees below the horizontal, and some with a foot."""
    strokes = [_line((0.4, 0), (0.4 + random.normal(0, 0.03), 1))]
    if random.random() < 0.85:
        angle, length = np.deg2rad(random.uniform(24, 75)), random.uniform(0.1, 0.62)
        tip = 0.4 - length * np.cos(angle), length * np.sin(angle)
        bow = random.normal(0, 0.04)
        strokes.append(_line((0.4, 0), ((0.4 + tip[0]) / 2 + bow, tip[1] / 2 + bow), tip))
    if random.random() < 0.4:
        foot = random.uniform(0.12, 0.35)
        strokes.append(_line((0.4 - foot, 1), (0.4 + foot * random.uniform(0.7, 1.2), 1)))
    return strokes


def _two(random: np.random.Generator) -> Strokes:
    top = [(0.0, 0.24), (0.08, 0.04), (0.32, -0.03), (0.58, 0.06), (0.6, 0.32), (0.4, 0.62)]
    style = random.random()
    if style < 0.3:  # a loop at the foot
        return [_line(*top, (0.12, 0.98), (-0.02, 0.96), (0.0, 0.8), (0.16, 0.82), (0.36, 0.98), (0.66, 0.96))]
    if style < 0.5:  # a wave
        return [_line(*top, (0.1, 0.88), (0.0, 1.0)), _line((0.0, 1.0), (0.2, 0.92), (0.42, 1.02), (0.62, 0.95))]
    return [_line(*top, (0.16, 0.86), (0.0, 1.0)), _line((0.0, 1.0), (random.uniform(0.5, 0.66), 1.0))]


def _three(random: np.random.Generator) -> Strokes:
    bowl = [(0.5, 0.46), (0.62, 0.68), (0.56, 0.98), (0.26, 1.04), (0.0, 0.9)]
    middle = random.uniform(0.15, 0.3), 0.45
    if random.random() < 0.25:  # a flat top
        return [_line((0.02, 0), (0.54, 0)), _line((0.54, 0), middle), _line(middle, *bowl)]
    return [_line((0.0, 0.14), (0.12, -0.02), (0.42, -0.04), (0.6, 0.14), (0.5, 0.4), middle), _line(middle, *bowl)]


def _four(random: np.random.Generator) -> Strokes:
    bar, stem = random.uniform(0.5, 0.7), random.uniform(0.36, 0.5)
    end = random.uniform(stem + 0.05, 0.66)
    if random.random() < 0.5:  # open
        left = _line((random.uniform(0.02, 0.2), 0), (0, bar))
        return [left, _line((0, bar), (end, bar)), _line((stem, random.uniform(0, 0.4)), (stem, 1))]
    return [_line((stem, 0), (0, bar)), _line((0, bar), (end, bar)), _line((stem, 0), (stem, 1))]


def _five(random: np.random.Generator) -> Strokes:
    neck = random.uniform(0.34, 0.48)
    bowl = _line((0.05, neck), (0.22, neck - 0.08), (0.54, neck + 0.02), (0.64, 0.72), (0.5, 1.0), (0.22, 1.04), (0.0, 0.9))
    loose = random.random() < 0.25
    away = random.uniform(0.02, 0.1, 2) if loose else (0, 0)
    bar = _line((0.1 + away[0], -away[1]), (random.uniform(0.45, 0.62) + away[0], -away[1] - random.uniform(-0.03, 0.06)))
    return [bar, _line((0.1, 0), (0.05, neck)), bowl]


def _six(random: np.random.Generator) -> Strokes:
    top = random.uniform(0.25, 0.55)
    bowl = [
        (0.06, 0.98),
        (0.34, 1.04),
        (0.6, 0.92),
        (0.6, 0.58),
        (0.34, 0.48),
        (0.08, 0.62),
        (0.04, random.uniform(0.68, 0.8)),
    ]
    return [_line((top, 0), (0.14, 0.22), (0.0, 0.62), *bowl)]


def _seven(random: np.random.Generator) -> Strokes:
    """Draw a bar, level or up to 11 degrees from it, and a stem; some have a bar across the stem, some a serif."""
    corner = random.uniform(0.28, 0.62)
    tilt, foot = corner * np.tan(np.deg2rad(random.uniform(-8, 11))), corner - random.uniform(0.05, 0.5)
    bend = random.normal(0, 0.04)
    middle = (corner + foot) / 2 + bend, 0.5
    strokes = [_line((0, tilt), (corner, 0)), _line((corner, 0), middle, (foot, 1))]
    if random.random() < 0.35:
        half, rise = random.uniform(0.12, 0.24), random.normal(0, 0.04)
        strokes.append(_line((middle[0] - half, middle[1] + rise), (middle[0] + half, middle[1] - rise)))
    if random.random() < 0.2:
        strokes.append(_line((0, tilt), (random.normal(0, 0.02), tilt + random.uniform(0.08, 0.18))))
    return strokes


def _eight(random: np.random.Generator) -> Strokes:
    if random.random() < 0.4:
        waist, top = random.uniform(0.42, 0.5), random.uniform(0.18, 0.27)
        below = (1 - waist) / 2
        return [_arc(0.3, waist / 2, top, waist / 2, -90, 275), _arc(0.3, 1 - below, 0.29, below, -90, 275)]
    turn = [(0.52, 0.16), (0.42, -0.04), (0.14, -0.03), (0.04, 0.2), (0.2, 0.4), (0.46, 0.58), (0.62, 0.82), (0.36, 1.06)]
    back = [(0.04, 1.0), (-0.02, 0.74), (0.2, 0.54), (0.46, 0.36), (0.52, 0.16)]
    return [_line(*turn, *back)]


def _nine(random: np.random.Generator) -> Strokes:
    right = random.uniform(0.5, 0.6)
    bowl = _arc(right - 0.27, 0.27, 0.27, random.uniform(0.22, 0.3), random.uniform(-60, 0), random.uniform(-400, -340))
    style = random.random()
    if style < 0.35:
        stem = _line((right, 0.1), (right - random.uniform(-0.04, 0.05), 1))
    elif style < 0.7:  # a tail to the left
        stem = _line((right, 0.12), (right + 0.02, 0.7), (right - 0.1, 1.0), (0.2, 1.02), (random.uniform(0, 0.1), 0.86))
    else:
        stem = _line((right, 0.2), (right - 0.05, 0.6), (random.uniform(0.15, 0.35), 1))
    return [bowl, stem]


_HANDS: tuple[Callable[[np.random.Generator], Strokes], ...] = (
    _zero, _one, _two, _three, _four, _five, _six, _seven, _eight, _nine,
)  # fmt: skip


def _seven_segments(label: int, random: np.random.Generator) -> Strokes:
    gap = random.uniform(0, 0.14)
    strokes = []
    for name in _SEGMENTS_OF[label]:
        x0, y0, x1, y1 = _CORNERS[name]
        ends = _line((0.55 * x0, y0 / 2), (0.55 * x1, y1 / 2))
        strokes.append(ends[0] + np.array([[gap], [1 - gap]]) * (ends[1] - ends[0]))
    return strokes


# --- print ----------------------------------------------------------------------------------------------------


@cache
def find_fonts(*names: str) -> list[Path]:
    """List the free fonts that matplotlib brings whose files' names begin so."""
    from matplotlib import get_data_path

    fonts = sorted(Path(get_data_path(), "fonts", "ttf").glob("*.ttf"))
    return [path for path in fonts if path.name.startswith(names) and "Display" not in path.name]


@cache
def print_character(character: str, font: Path, size: int) -> Images:
    """Print a character in the middle of a sheet; uint8, shape (`SIDE`, `SIDE`)."""
    sheet = Image.new("L", (SIDE, SIDE))
    face = ImageFont.truetype(font, size)
    ImageDraw.Draw(sheet).text((SIDE / 2, SIDE / 2), character, fill=255, font=face, anchor="mm")
    return np.asarray(sheet)


def warp_sheet(sheet: Images, change: NDArray[np.float64]) -> Images:
    """Map a sheet around its middle; `change` is from `random_map`."""
    centre = np.full(2, SIDE / 2)
    return cv2.warpAffine(sheet, np.column_stack([change, centre - change @ centre]), (SIDE, SIDE))


def _print_digit(label: int, random: np.random.Generator) -> Images:
    fonts, change = find_fonts(*_FONTS), random_map(random)
    sheet = warp_sheet(print_character(str(label), fonts[random.integers(len(fonts))], _SIZE), change)
    bolder = int(random.integers(-1, 6))
    if bolder <= 0:
        return sheet
    return cv2.dilate(sheet, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (bolder + 1, bolder + 1)))
