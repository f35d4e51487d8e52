"""Dark on light or light on dark: both polarities for training, and preprocessing that detects the polarity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import Images
from mnist_utils.data.datasets import Dataset
from mnist_utils.data.synthetic import encode_png
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import preprocess


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
