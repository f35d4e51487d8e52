"""Images that show no digit: letters and signs, written or printed, scribbles and shapes, in MNIST's form.

A model that was never shown anything but digits calls whatever it sees a digit, and often with certainty. One that was
trained to spread its probability evenly over all digits where it sees these does so for others that it never saw, too.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from mnist_utils._support.arrays import Images
from mnist_utils.data.drawn import SIDE, find_fonts, print_character, random_map, smooth, warp_sheet
from mnist_utils.preprocessing.center import center_digit

# Without what some people's digits look like: B and 8, G and 6, I and 1, O and 0, S and 5, Z and 2, b and 6, g and 9, and
# of the Greek ones delta and 8, phi and 0, Lambda and a 1 with a long flag.
_CHARACTERS = {
    "ACEFHKLMNPRTUVWXYacdefhjkmnprtuvwxy": 0.55,
    "αβγεηκλμνξπρυχψωΔΞΠΣΨΩ": 0.35,
    "+#%&@?=*~$€§{}∞√": 0.1,
}
_KINDS = {"character": 0.65, "scribble": 0.2, "shape": 0.15}
_SIZE = 80  # of a font, in pixels
_FONTS = ("DejaVu", "STIXGeneral")  # those with Greek letters
_WRITTEN = 0.65  # the share of characters that are drawn with a pen along the middle of the printed ones' strokes
_BEND = 3.0  # pixels, standard deviation of a written character's knots


def draw_outliers(n: int, random: np.random.Generator) -> Images:
    """Draw images that show no digit.

    Parameters
    ----------
    n : int
    random : numpy.random.Generator

    Returns
    -------
    uint8 array, shape (n, 28, 28), white on black, placed as MNIST places its digits

    References
    ----------
    Hendrycks, Mazeika and Dietterich (2019), Deep anomaly detection with outlier exposure. ICLR: why to train on them.
    """
    drawn = np.empty((n, 28, 28), np.uint8)
    for at, kind in enumerate(random.choice(list(_KINDS), n, p=list(_KINDS.values()))):
        draw = {"character": _character, "scribble": _scribble, "shape": _shape}[kind]
        while not (sheet := draw(random)).any():  # squeezed to nothing
            pass
        drawn[at] = center_digit(sheet.astype(np.float32) / np.float32(255))
    return drawn


def _character(random: np.random.Generator) -> Images:
    alphabet = random.choice(list(_CHARACTERS), p=list(_CHARACTERS.values()))
    fonts = find_fonts(*_FONTS)
    character, font = alphabet[random.integers(len(alphabet))], fonts[random.integers(len(fonts))]
    sheet = print_character(character, font, _SIZE)
    if random.random() < _WRITTEN:
        pen = int(random.integers(3, 12))
        sheet = cv2.dilate(_skeleton(character, font), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pen, pen)))
        sheet = _bend(sheet, random)
    return warp_sheet(sheet, random_map(random))


@cache
def _skeleton(character: str, font: Path) -> Images:
    from skimage.morphology import skeletonize

    return skeletonize(print_character(character, font, _SIZE) > 127).astype(np.uint8) * np.uint8(255)


def _bend(sheet: Images, random: np.random.Generator) -> Images:
    knots = random.normal(0, _BEND, (2, 5, 5)).astype(np.float32)
    across, down = (cv2.resize(knot, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for knot in knots)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return cv2.remap(sheet, x + across, y + down, cv2.INTER_LINEAR)


def _scribble(random: np.random.Generator) -> Images:
    """Draw one to four lines with up to seven corners each, round or sharp; never a single stroke, which could be a 1."""
    sheet = np.zeros((SIDE, SIDE), np.uint8)
    pen = int(random.integers(4, 13))
    for line in range(random.integers(1, 5)):
        points = random.uniform(20, SIDE - 20, (int(random.integers(2 if line else 5, 9)), 2))
        if random.random() < 0.7:
            points = smooth(points)
        cv2.polylines(sheet, [np.round(points * 16).astype(np.int32)], False, 255, pen, cv2.LINE_AA, 4)
    return sheet


def _shape(random: np.random.Generator) -> Images:
    """Draw an ellipse, a rectangle, a polygon, a grid or some blocks; none so narrow that it could be a 1."""
    sheet = np.zeros((SIDE, SIDE), np.uint8)
    middle, across = SIDE // 2, int(random.integers(20, 50))
    down = int(across * random.uniform(0.55, 1.8))
    kind = random.integers(5)
    if kind == 0:
        cv2.ellipse(sheet, (middle, middle), (across, down), 0, 0, 360, 255, cv2.FILLED)
    elif kind == 1:
        pen = cv2.FILLED if random.random() < 0.5 else int(random.integers(4, 12))
        cv2.rectangle(sheet, (middle - across, middle - down), (middle + across, middle + down), 255, pen)
    elif kind == 2:
        n = int(random.integers(3, 8))
        angles = 2 * np.pi * (np.arange(n) + random.uniform(0, 0.6, n)) / n
        corners = middle + random.uniform(25, 50, (n, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(sheet, [np.round(corners).astype(np.int32)], 255)
    elif kind == 3:
        pen = int(random.integers(3, 9))
        for at in np.linspace(20, SIDE - 20, random.integers(2, 6)).astype(int).tolist():
            cv2.line(sheet, (16, at), (SIDE - 16, at), 255, pen)
            cv2.line(sheet, (at, 16), (at, SIDE - 16), 255, pen)
    else:
        for _ in range(random.integers(4, 30)):
            left, top = random.integers(14, SIDE - 18, 2).tolist()
            side = int(random.integers(3, 14))
            cv2.rectangle(sheet, (left, top), (left + side, top + side), 255, cv2.FILLED)
    return sheet
