"""A digit of a data set as a picture that a person might bring: dark strokes somewhere on lit paper, larger than 28x28."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mnist_utils.data import Images

Colour = tuple[int, int, int]


def draw(digit: Images, *, seed: int = 0, ink: Colour = (30, 40, 110), sheet: Colour = (250, 246, 235)) -> bytes:
    """Draw a digit in ink on a sheet of paper on which a lamp shines from one side.

    Parameters
    ----------
    digit : uint8 array, shape (28, 28), white on black
    seed : int
        Where on the sheet, and where the lamp stands.
    ink, sheet : (red, green, blue), 0 to 255

    Returns
    -------
    bytes
        A PNG of 300x260 pixels.
    """
    random = np.random.default_rng(seed)
    large = Image.fromarray(digit).resize((168, 168), Image.Resampling.BICUBIC)
    strokes = np.clip((np.asarray(large) / 255 - 0.25) / 0.35, 0, 1)  # firm, as a pen's are, with soft edges
    page = np.zeros((260, 300, 1))
    top, left = (int(random.integers(0, room + 1)) for room in np.subtract(page.shape[:2], strokes.shape))
    page[top : top + 168, left : left + 168, 0] = strokes
    y, x = np.indices(page.shape[:2]) / 300
    angle = random.uniform(0, 2 * np.pi)
    light = 0.85 + 0.15 * np.cos(angle) * (x - 0.5) * 2 + 0.15 * np.sin(angle) * (y - 0.5) * 2
    colours = (np.array(sheet) * (1 - page) + np.array(ink) * page) * light[..., None]
    return encode(np.clip(np.round(colours), 0, 255).astype(np.uint8))


def encode(pixels: Images) -> bytes:
    """Pack pixels, uint8 of shape (height, width) or (height, width, 3), into a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
