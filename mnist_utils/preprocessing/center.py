"""Ink -> 28x28, placed as MNIST places its digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_utils._support.arrays import Images


def center_digit(ink: NDArray[np.floating]) -> Images:
    """Place a digit as MNIST places its digits: in a 20x20 box, its mass at the centre of 28x28.

    Parameters
    ----------
    ink : float array, shape (height, width), values 0 (paper) to 1 (ink)
        Must contain some ink; the paper around it is cropped first.

    Returns
    -------
    uint8 array, shape (28, 28), white on black

    References
    ----------
    LeCun, Cortes, Burges: The MNIST database of handwritten digits (how its images were normalised).
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 20 / max(cropped.shape)
    height, width = (max(1, round(scale * side)) for side in cropped.shape)
    picture = Image.fromarray(cropped.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    small = np.clip(np.asarray(picture), 0, 1)
    mass = small.sum()
    # As in MNIST, the centre of mass is within half a pixel of (14, 14), unless the box would leave the image.
    top = round(14 - float(small.sum(axis=1) @ np.arange(height)) / float(mass))
    left = round(14 - float(small.sum(axis=0) @ np.arange(width)) / float(mass))
    top, left = min(max(top, 0), 28 - height), min(max(left, 0), 28 - width)
    placed = np.zeros((28, 28), np.uint8)
    placed[top : top + height, left : left + width] = np.round(255 * small)
    return placed
