"""Dark on light or light on dark: what the wrong one does to a network, and what the two mends cost."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_utils.config import TrainConfig
from mnist_utils.data import Dataset, Images
from mnist_utils.images import ImageError, read
from mnist_utils.paper import encode

NORMAL, BOTH = "white on black only", "both polarities"


@dataclass(frozen=True)
class Readings:
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


def through_reader(images: Images) -> Readings:
    """Pack each image as a PNG and let the reader find out its polarity, as `mnist predict` does.

    Parameters
    ----------
    images : uint8 array, shape (n, 28, 28)
    """
    n = len(images)
    found = Readings(np.zeros((n, 28, 28), np.uint8), np.zeros(n, bool), np.zeros(n, bool))
    for i, image in enumerate(images):
        try:
            reading = read(encode(image))
        except ImageError:
            found.refused[i] = True
        else:
            found.images[i], found.inverted[i] = reading.image, reading.inverted
    return found


def invert_half(dataset: Dataset, seed: int = 0) -> Dataset:
    """Invert a random half of the training images; their number stays, and the other parts are not touched."""
    chosen = np.random.default_rng(seed).permutation(len(dataset.x_train)) % 2 == 1
    return replace(dataset, x_train=np.where(chosen[:, None, None], 255 - dataset.x_train, dataset.x_train))


def take_few(dataset: Dataset, images: int, seed: int = 0) -> Dataset:
    """Keep only `images` of the training images, drawn by lot; all, if there are no more."""
    kept = np.sort(np.random.default_rng(seed).permutation(len(dataset.x_train))[:images])
    return replace(dataset, x_train=dataset.x_train[kept], y_train=dataset.y_train[kept])


def train_on_both(config: TrainConfig, dataset: Dataset, seeds: Sequence[int]) -> pd.DataFrame:
    """Train from each seed twice, with the same budget: on the images as they are, and with half of them inverted.

    Parameters
    ----------
    config : TrainConfig
        Its seed is replaced by each of `seeds`.
    dataset : Dataset
        Only its training and validation parts are touched.
    seeds : sequence of int

    Returns
    -------
    DataFrame
        A row a training: variant, seed, accuracy and inverted_accuracy (0 to 1) on the validation images as they are and
        inverted.
    """
    from mnist_utils import training

    # Validated once, below: after each epoch it would take longer than training on a few thousand images.
    small = replace(dataset, x_validation=dataset.x_validation[:1], y_validation=dataset.y_validation[:1])
    rows = []
    with tempfile.TemporaryDirectory() as folder, _without_retracing_warnings():
        for seed in seeds:
            for variant, data in (NORMAL, small), (BOTH, invert_half(small, seed)):
                path = Path(folder) / f"{variant} {seed}"
                path.mkdir()
                model = training.train(config.model_copy(update={"seed": seed}), data, path, progress=False).model
                accuracy, inverted = (
                    model.predict(x[..., None], batch_size=1000, verbose=0).argmax(axis=1) == dataset.y_validation
                    for x in (dataset.x_validation, 255 - dataset.x_validation)
                )
                rows.append((variant, seed, float(accuracy.mean()), float(inverted.mean())))
    return pd.DataFrame(rows, columns=["variant", "seed", "accuracy", "inverted_accuracy"])


@contextmanager
def _without_retracing_warnings() -> Iterator[None]:
    """Keep TensorFlow from warning that it compiles often: each training is a new network, so it must."""
    logger = logging.getLogger("tensorflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def gain_of_both(trials: pd.DataFrame, measure: str) -> tuple[float, float, float]:
    """Compare both polarities with one, seed by seed.

    Parameters
    ----------
    trials : DataFrame
        From `train_on_both`, with two seeds or more.
    measure : {"accuracy", "inverted_accuracy"}

    Returns
    -------
    mean, low, high : float
        Mean of the differences both - one, with Student's 95 % interval for other seeds (the images stay the same).
    """
    from scipy.stats import ttest_rel

    table = trials.pivot_table(index="seed", columns="variant", values=measure)
    difference = (table[BOTH] - table[NORMAL]).to_numpy()
    if len(difference) < 2:
        raise ValueError(f"{len(difference)} seed; an interval needs two at least")
    if np.ptp(difference) == 0:  # Student's t would divide by it
        return float(difference[0]), float(difference[0]), float(difference[0])
    interval = ttest_rel(table[BOTH], table[NORMAL]).confidence_interval(0.95)
    return float(difference.mean()), float(interval.low), float(interval.high)
