"""A data set explored: its files, class counts, pixels and strokes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

from mnist_utils._support.arrays import Floats, Images, Indices, Labels
from mnist_utils.data.classes import class_index
from mnist_utils.data.datasets import Dataset
from mnist_utils.data.sources import SOURCES

_FINER = 4  # strokes are measured on an image enlarged by this factor


def dataset_parts(dataset: Dataset) -> dict[str, tuple[Images, Labels]]:
    """Return images and labels of the three disjoint parts by name: training, validation, test."""
    return {
        "training": (dataset.x_train, dataset.y_train),
        "validation": (dataset.x_validation, dataset.y_validation),
        "test": (dataset.x_test, dataset.y_test),
    }


def published_files(dataset: Dataset) -> pd.DataFrame:
    """List the published files of `dataset`: items and the checksum that each is compared with; empty for ``digits``."""
    rows = []
    for part in SOURCES[dataset.name].parts if dataset.name in SOURCES else ():
        algorithm, _, packed = part.packed_hash.partition(":")
        what, value = (
            ("sha256 of the content", part.content_sha256) if part.content_sha256 else (f"{algorithm} of the .gz", packed)
        )
        rows.append({"file": part.file, "items": part.count, "checksum": what, "value": value})
    return pd.DataFrame(rows, columns=["file", "items", "checksum", "value"])


def class_counts(dataset: Dataset) -> pd.DataFrame:
    """Count the images of each class (rows) in each part (columns)."""
    n = len(dataset.classes)
    counts = {name: np.bincount(labels, minlength=n) for name, (_, labels) in dataset_parts(dataset).items()}
    return pd.DataFrame(counts, index=class_index(dataset.classes, n))


def sample_per_class(labels: Labels, count: int, *, seed: int = 0) -> Indices:
    """Sample up to `count` images of each class, without replacement.

    Returns
    -------
    integer array, shape (at most classes * count,)
        Indices into `labels`: first those of the lowest label, then of the next, and so on.
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[:count] for digit in np.unique(labels)])


# --- pixels -----------------------------------------------------------------------------------------------


def class_mean_and_std(images: Images, labels: Labels, classes: int) -> tuple[Floats, Floats]:
    """Return each class's mean image and the standard deviation of each of its pixels.

    Returns
    -------
    two float arrays, each of shape (classes, 28, 28), in grey levels, 0 to 255; NaN for a class without images
    """
    both = [
        (images[labels == digit].mean(axis=0), images[labels == digit].std(axis=0))
        if (labels == digit).any()
        else (np.full((28, 28), np.nan),) * 2
        for digit in range(classes)
    ]
    return np.stack([mean for mean, _ in both]), np.stack([std for _, std in both])


def grey_levels(images: Images) -> NDArray[np.intp]:
    """Count how many pixels have each of the 256 grey levels."""
    return np.sum([np.bincount(some.ravel(), minlength=256) for some in _in_batches(images)], axis=0)


def _in_batches(images: Images) -> list[Images]:
    """Split `images` into batches, so that a copy of a batch as float64 or int64 takes little memory."""
    return np.array_split(images, len(images) // 5000 + 1)


def pixel_statistics(images: Images) -> pd.Series:
    """Describe all pixels of all images; mean and standard deviation are of pixels divided by 255.

    Returns
    -------
    Series of float
        ``mean``, ``std``; ``black``, ``white`` and ``grey``: the shares of pixels that are 0, 255 and between; ``never
        used``: how many of the 784 pixel positions are 0 in every image.
    """
    counts = grey_levels(images)  # integers: exact, unlike a mean of 42 million floats
    share, levels = counts / counts.sum(), np.arange(256) / 255
    mean = float(share @ levels)
    return pd.Series(
        {
            "mean": mean,
            "std": float(np.sqrt(share @ (levels - mean) ** 2)),
            "black": share[0],
            "white": share[255],
            "grey": 1 - share[0] - share[255],
            "never used": float((images.max(axis=0) == 0).sum()),
        }
    )


def digit_placement(images: Images) -> pd.DataFrame:
    """Measure the position and size of each digit.

    Returns
    -------
    DataFrame, one row per image
        ``height`` and ``width`` of the box around all ink, in pixels; ``row`` and ``column`` of the centre of mass, counted
        from 0 at the centre of the first pixel. All 0 for an image without ink.
    """
    rows, columns = images.any(axis=2), images.any(axis=1)
    mass = np.maximum(images.sum(axis=(1, 2), dtype=np.int64), 1)
    return pd.DataFrame(
        {
            "height": _extent(rows),
            "width": _extent(columns),
            "row": images.sum(axis=2, dtype=np.int64) @ np.arange(28) / mass,
            "column": images.sum(axis=1, dtype=np.int64) @ np.arange(28) / mass,
        }
    )


def _extent(used: Any) -> Indices:
    last = used.shape[1] - used[:, ::-1].argmax(axis=1)
    return np.where(used.any(axis=1), last - used.argmax(axis=1), 0)


def shift_images(images: Images, pixels: int) -> Images:
    """Move every image to the right by `pixels` (0 to 28); what leaves the image is lost."""
    moved = np.zeros_like(images)
    moved[:, :, pixels:] = images[:, :, : 28 - pixels]
    return moved


# --- strokes ----------------------------------------------------------------------------------------------


def stroke_thickness(images: Images) -> Floats:
    """Measure the mean width of each digit's strokes.

    It is twice the mean distance from the strokes' centre line (skeleton) to the nearest paper, on an image enlarged four
    times and thresholded at half of full ink. About 3 ms per image.

    Returns
    -------
    float array, shape (n,), in pixels of the 28x28 image; NaN for an image without ink

    References
    ----------
    Castro, Tan, Kainz, Konukoglu, Glocker (2019): Morpho-MNIST: Quantitative Assessment and Diagnostics for
    Representation Learning. Journal of Machine Learning Research 20(178).
    """
    return np.array([_image_thickness(image) for image in images])


def _image_thickness(image: Images) -> float:
    larger = Image.fromarray(image).resize((28 * _FINER, 28 * _FINER), Image.Resampling.BICUBIC)
    ink = np.pad(np.asarray(larger) >= 128, 1)
    if not ink.any():
        return float("nan")
    # The distance is to the centre of the first paper pixel, half a pixel beyond the stroke's edge; the centre line is up
    # to half a pixel off the true middle. Together they add a quarter of a pixel on average.
    return 2 * float((ndimage.distance_transform_edt(ink)[skeletonize(ink)] - 0.25).mean()) / _FINER


def stroke_slant(images: Images) -> Floats:
    """Measure how far each digit leans: the angle of the shear that would make it upright.

    With the central second moments of the ink, the horizontal shift per row that removes the correlation of rows and
    columns is mu11 / mu02; its arctangent is the slant.

    Returns
    -------
    float array, shape (n,), in degrees from the vertical, positive to the right; 0 for an image with ink in one row only

    References
    ----------
    Hu (1962): Visual pattern recognition by moment invariants. IRE Transactions on Information Theory 8(2). The moments.
    LeCun, Bottou, Bengio, Haffner (1998): Gradient-based learning applied to document recognition. Proceedings of the
    IEEE 86(11), section III-A. Deslanting MNIST with them.
    """
    return np.concatenate([_image_slant(some) for some in _in_batches(images)])


def _image_slant(images: Images) -> Floats:
    place = digit_placement(images)
    x = np.arange(28) - place["column"].to_numpy()[:, None]
    y = np.arange(28) - place["row"].to_numpy()[:, None]
    ink = images.astype(np.float64)
    mu11 = np.einsum("nij,ni,nj->n", ink, y, x, optimize=True)
    mu02 = np.einsum("nij,ni->n", ink, y**2, optimize=True)
    # Rows count downwards: a digit whose lower rows are further left leans to the right.
    return np.degrees(np.arctan(np.divide(-mu11, mu02, out=np.zeros_like(mu11), where=mu02 > 0)))


def evenly_spaced_examples(values: Floats, labels: Labels, count: int) -> list[Indices]:
    """Pick `count` images of each class at evenly spaced ranks of a measured value, from the lowest to the highest.

    Returns
    -------
    list of integer arrays, one for each class that occurs
        Indices into `values` and `labels`; images without a value (NaN) are left out.
    """
    found = []
    for digit in np.unique(labels):
        members = np.flatnonzero((labels == digit) & ~np.isnan(values))
        ranked = members[np.argsort(values[members], kind="stable")]
        found.append(ranked[np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)])
    return found
