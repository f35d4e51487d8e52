"""Pictures of a digit drawn in straight lines, each kind with one thing that real pictures have and MNIST has not.

The digits are polylines of our own, not those of `mnist_utils.data.drawn`, with which networks are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw

from tests.pictures import packed

Colour = tuple[int, int, int]
Line = list[tuple[float, float]]

# In a unit square, y downwards.
DIGITS: dict[int, list[Line]] = {
    0: [[(0.3, 0), (0.7, 0), (1, 0.25), (1, 0.75), (0.7, 1), (0.3, 1), (0, 0.75), (0, 0.25), (0.3, 0)]],
    1: [[(0.5, 0), (0.5, 1)]],
    2: [[(0, 0.2), (0.2, 0), (0.75, 0), (1, 0.2), (1, 0.4), (0, 1), (1, 1)]],
    3: [[(0, 0.1), (0.3, 0), (0.75, 0), (1, 0.2), (0.75, 0.45), (0.35, 0.48)],
        [(0.35, 0.48), (0.75, 0.5), (1, 0.75), (0.75, 1), (0.3, 1), (0, 0.9)]],
    4: [[(0.7, 1), (0.7, 0), (0, 0.65), (1, 0.65)]],
    5: [[(0.95, 0), (0.1, 0), (0.05, 0.45), (0.6, 0.4), (1, 0.6), (1, 0.8), (0.7, 1), (0.25, 1), (0, 0.9)]],
    6: [[(0.8, 0), (0.3, 0.25), (0, 0.6), (0.1, 0.9), (0.4, 1), (0.8, 0.95), (1, 0.75), (0.85, 0.55), (0.5, 0.5),
         (0.05, 0.65)]],
    7: [[(0, 0), (1, 0), (0.35, 1)]],
    8: [[(0.5, 0.45), (0.1, 0.25), (0.25, 0), (0.75, 0), (0.9, 0.25), (0.5, 0.45), (0, 0.7), (0.2, 1), (0.8, 1), (1, 0.7),
         (0.5, 0.45)]],
    9: [[(0.95, 0.3), (0.7, 0.5), (0.3, 0.5), (0, 0.3), (0.2, 0.02), (0.7, 0), (0.95, 0.25), (0.9, 0.6), (0.7, 1)]],
}  # fmt: skip
SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Sheet:
    """A picture of (width, height) to draw on, four times as large as it will be, so that its edges come out soft."""

    def __init__(self, size: tuple[int, int], paper: Colour, *, hard: bool = False) -> None:
        self.size, self.scale = size, 1 if hard else 4
        self.image = Image.new("RGB", (size[0] * self.scale, size[1] * self.scale), paper)
        self.draw = ImageDraw.Draw(self.image)

    def line(self, points: Line, width: float, colour: Colour) -> None:
        at = [(x * self.scale, y * self.scale) for x, y in points]
        self.draw.line(at, colour, round(width * self.scale), joint="curve")
        if self.scale > 1:  # round ends
            half = width * self.scale / 2
            for x, y in at:
                self.draw.ellipse((x - half, y - half, x + half, y + half), colour)

    def area(self, points: Line, colour: Colour) -> None:
        self.draw.polygon([(x * self.scale, y * self.scale) for x, y in points], colour)

    def digit(self, label: int, box: tuple[float, float, float, float], pen: float, colour: Colour) -> None:
        """Draw a digit into (left, top, width, height)."""
        left, top, width, height = box
        for line in DIGITS[label]:
            self.line([(left + width * x, top + height * y) for x, y in line], pen, colour)

    def packed(self) -> bytes:
        return packed(self.image if self.scale == 1 else self.image.resize(self.size, Image.Resampling.BOX))


def flagged_ones(pen: float) -> Iterator[bytes]:
    """Draw a 1 with each of 25 flags, without a foot and with one."""
    for foot in False, True:
        for degrees in 25, 35, 45, 55, 65:
            for length in 0.15, 0.25, 0.35, 0.45, 0.55:
                sheet = Sheet((280, 280), WHITE)
                angle = np.deg2rad(degrees)
                sheet.line([(140, 40), (140, 240)], pen, BLACK)
                sheet.line([(140, 40), (140 - 200 * length * np.cos(angle), 40 + 200 * length * np.sin(angle))], pen, BLACK)
                if foot:
                    sheet.line([(90, 240), (190, 240)], pen, BLACK)
                yield sheet.packed()


def hard_strokes(label: int, width: int, random: np.random.Generator) -> bytes:
    """Draw in 28x28 pixels as in a paint program: lines of one or two pixels without soft edges."""
    sheet = Sheet((28, 28), WHITE, hard=True)
    sheet.digit(label, (int(random.integers(4, 11)), int(random.integers(3, 6)), 12, 19), width, BLACK)
    return sheet.packed()


def lined_paper(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((384, 512), (225, 190, 165))
    slope, first = random.uniform(-0.04, 0.04), random.uniform(0, 52)
    for y in np.arange(first - 20, 540, 52):
        sheet.line([(-5, y), (389, y + 389 * slope)], 4, (120, 150, 155))
    sheet.digit(label, (random.uniform(40, 200), random.uniform(40, 280), 110, 180), 6, (55, 60, 120))
    return sheet.packed()


def desk_edge(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((500, 480), (200, 200, 215))
    sheet.area([(0, 440), (500, 470), (500, 480), (0, 480)], (60, 45, 40))
    sheet.digit(label, (random.uniform(60, 350), random.uniform(60, 280), 70, 110), 9, (40, 40, 70))
    return sheet.packed()


def strip_along_the_top(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((500, 480), (205, 205, 210))
    low, high = random.uniform(20, 45, 2)
    sheet.area([(0, 0), (500, 0), (500, low), (0, high)], (70, 60, 55))
    sheet.digit(label, (random.uniform(60, 350), random.uniform(100, 320), 70, 110), 9, (40, 40, 70))
    return sheet.packed()


def dark_corner(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((300, 480), (205, 205, 205))
    across, down = random.uniform(60, 120), random.uniform(80, 160)
    sheet.area([(300, 480), (300 - across, 480), (300 - across / 2, 480 - down * 0.6), (300, 480 - down)], (90, 88, 85))
    sheet.digit(label, (random.uniform(60, 160), random.uniform(150, 250), 24, 34), 3, (50, 50, 60))
    return sheet.packed()


def hairlines(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((200, 200), WHITE)
    sheet.digit(label, (50, 30, 100, 140), 12, BLACK)
    for _ in range(4):
        (x0, x1), (y0, y1) = random.uniform(0, 200, (2, 2))
        ends = [(x0, 0.0), (x1, 200.0)] if random.random() < 0.5 else [(0.0, y0), (200.0, y1)]
        sheet.line(ends, 2, BLACK)
    return sheet.packed()


def coloured_band(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((200, 200), (0, 255, 255))
    at = random.uniform(20, 120)
    sheet.area([(at - 40, 0), (at, 0), (at + 60, 200), (at + 20, 200)], (255, 220, 0))
    sheet.digit(label, (55, 30, 90, 140), 14, (20, 20, 230))
    return sheet.packed()


def window_on_a_desktop(label: int, random: np.random.Generator) -> bytes:
    sheet = Sheet((640, 400), (35, 38, 45))
    left, top = random.uniform(20, 290), random.uniform(20, 100)
    sheet.area([(left, top), (left + 320, top), (left + 320, top + 260), (left, top + 260)], (245, 245, 245))
    sheet.area([(left + 80, top + 50), (left + 240, top + 50), (left + 240, top + 210), (left + 80, top + 210)], BLACK)
    sheet.digit(label, (left + 125, top + 75, 70, 110), 10, WHITE)
    return sheet.packed()


def segments_with_gaps(label: int, random: np.random.Generator) -> bytes:
    gap, long, bar = random.uniform(6, 8), 90, 16
    sheet = Sheet((220, 320), WHITE)
    x, y = random.uniform(30, 90), random.uniform(30, 90)
    corners = {
        "a": (0, 0, 1, 0),
        "b": (1, 0, 1, 1),
        "c": (1, 1, 1, 2),
        "d": (0, 2, 1, 2),
        "e": (0, 1, 0, 2),
        "f": (0, 0, 0, 1),
    }
    for name in SEGMENTS[label]:
        x0, y0, x1, y1 = (corners | {"g": (0, 1, 1, 1)})[name]
        dx, dy = x1 - x0, y1 - y0
        away = gap / 2 + bar / 2
        ends = (x + long * x0 + away * dx, y + long * y0 + away * dy), (x + long * x1 - away * dx, y + long * y1 - away * dy)
        aside = bar / 2 * dy, bar / 2 * dx  # a bar's width is across it
        there, back = ([(x + side * aside[0], y + side * aside[1]) for x, y in ends] for side in (-1, 1))
        sheet.area(there + back[::-1], BLACK)
    return sheet.packed()


KINDS: dict[str, Callable[[int, np.random.Generator], bytes]] = {
    make.__name__: make
    for make in (
        lined_paper, desk_edge, strip_along_the_top, dark_corner, hairlines, coloured_band, window_on_a_desktop,
        segments_with_gaps,
    )
} | {
    "hard strokes of 1 pixel": lambda label, random: hard_strokes(label, 1, random),
    "hard strokes of 2 pixels": lambda label, random: hard_strokes(label, 2, random),
}  # fmt: skip
