"""Dark on light or light on dark: images of either kind for a network, and what the reader makes of them."""

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
    """Images after the reader.

    Attributes
    ----------
    images : uint8 array, shape (n, 28, 28), white on black
        Black where the reader found no digit.
    inverted, refused : bool array, shape (n,)
        Whether it took the picture for dark on light; whether it found no digit.
    """

    images: Images
    inverted: NDArray[np.bool_]
    refused: NDArray[np.bool_]


def preprocess_images(images: Images) -> PreprocessedImages:
    """Pack each image as a PNG and let the reader find out its polarity, as `mnist predict` does.

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
    """Invert a random half of the training images; their number stays, and the other parts are not touched."""
    chosen = np.random.default_rng(seed).permutation(len(dataset.x_train)) % 2 == 1
    return replace(dataset, x_train=np.where(chosen[:, None, None], 255 - dataset.x_train, dataset.x_train))
