"""Pictures of several digits in a row: spaced or touching, on a sloping line, in a shadow, on ruled paper."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Digits = NDArray[np.uint8]


def row_of(digits: Digits, random: np.random.Generator, *, ruled: bool = False, shadow: bool = False) -> bytes:
    """Write 28x28 digits side by side, each of its own size, from a digit's width apart down to touching."""
    spacing, slope = random.uniform(-0.02, 0.5), random.uniform(-0.08, 0.08)
    pieces, left, boxes = [], 60, []
    for digit in digits:
        scale = random.uniform(3.2, 4)
        rows, columns = np.flatnonzero((digit > 100).any(axis=1)), np.flatnonzero((digit > 100).any(axis=0))
        cut = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        size = round(scale * cut.shape[1]), round(scale * cut.shape[0])
        large = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BICUBIC), np.float64) / 255
        pieces.append(np.clip((large - 0.25) / 0.35, 0, 1))
        boxes.append((left, 120 + round(slope * left) + int(random.integers(-4, 5))))
        left += size[0] + round(spacing * 60)
    page = np.zeros((280, left + 60))
    for piece, (x, y) in zip(pieces, boxes, strict=True):
        top = max(0, y + 40 - piece.shape[0] // 2)
        here = page[top : top + piece.shape[0], x : x + piece.shape[1]]
        np.maximum(here, piece[: here.shape[0]], out=here)
    paper = np.full((*page.shape, 3), (244.0, 240, 230))
    if ruled:
        for y in range(int(random.integers(20, 50)), 280, 46):
            paper[y : y + 2] = (160, 180, 215)
    colours = paper * (1 - page[..., None]) + np.array((40, 45, 90)) * page[..., None]
    if shadow:
        across = np.linspace(0, 1, page.shape[1])[None, :, None]
        colours *= 1 - 0.35 / (1 + np.exp(-(across - random.uniform(0.3, 0.7)) * 12))
    file = io.BytesIO()
    Image.fromarray(colours.round().astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()
