"""Dark on light or light on dark: changed tones, both polarities for training, and preprocessing that detects them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images
from mnist_utils.data.datasets import Dataset
from mnist_utils.data.synthetic import encode_png
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import preprocess

_SIDE = 28
_LEAST_INK = 25  # grey levels: what is darker is black paper


def set_contrast(x: Images, contrast: float) -> Images:
    """Move all greys towards the middle one, or past it: 1 changes nothing, 0 leaves one grey, -1 inverts.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28)
    contrast : float, -1 to 1
    """
    return np.rint(127.5 + contrast * (x - 127.5)).astype(np.uint8)


def invert_right_half(x: Images) -> Images:
    """Invert the right half of each image, so that it has both polarities."""
    changed = x.copy()
    changed[:, :, _SIDE // 2 :] = 255 - x[:, :, _SIDE // 2 :]
    return changed


def crop_tightly(x: Images) -> Images:
    """Enlarge each digit, with its aspect kept, until its longer side fills the image.

    Parameters
    ----------
    x : uint8 array, shape (n, 28, 28), white on black
        An image without ink is unchanged.
    """
    cropped = x.copy()
    for image, target in zip(x, cropped, strict=True):
        rows, columns = (np.flatnonzero((image > _LEAST_INK).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            continue
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = (max(1, round(side * _SIDE / max(ink.shape))) for side in ink.shape)
        top, left = (_SIDE - height) // 2, (_SIDE - width) // 2
        target[:] = 0
        target[top : top + height, left : left + width] = cv2.resize(ink, (width, height), interpolation=cv2.INTER_LINEAR)
    return cropped


@dataclass(frozen=True)
class PreprocessedImages:
    """Images after preprocessing.

    Attributes
    ----------
    images : uint8 array, shape (n, 28, 28), white on black
        Black where no digit was found.
    inverted, refused : bool array, shape (n,)
        Whether the picture was read as dark on light; whether no digit was found.
    """

    images: Images
    inverted: NDArray[np.bool_]
    refused: NDArray[np.bool_]


def preprocess_images(images: Images) -> PreprocessedImages:
    """Encode each image as a PNG and preprocess it with polarity detection, as `mnist predict` does.

    Parameters
    ----------
    images : uint8 array, shape (n, 28, 28)
    """
    n = len(images)
    found = PreprocessedImages(np.zeros((n, 28, 28), np.uint8), np.zeros(n, bool), np.zeros(n, bool))
    for i, image in enumerate(images):
        try:
            reading = preprocess(encode_png(image))
        except ImageError:
            found.refused[i] = True
        else:
            found.images[i], found.inverted[i] = reading.image, reading.inverted
    return found


def invert_half(dataset: Dataset, seed: int = 0) -> Dataset:
    """Invert a random half of the training images, in place of the originals; the other parts are unchanged."""
    chosen = np.random.default_rng(seed).permutation(len(dataset.x_train)) % 2 == 1
    return replace(dataset, x_train=np.where(chosen[:, None, None], 255 - dataset.x_train, dataset.x_train))
