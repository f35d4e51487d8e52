"""How much more images would help: the validation accuracy for several sizes of the training set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Indices, Labels
from mnist_utils.data.datasets import Dataset
from mnist_utils.experiments.ablations import train_variants
from mnist_utils.training.config import make_config


def train_sizes(
    sizes: Sequence[int],
    base: Mapping[str, Any],
    dataset: Dataset,
    seeds: Sequence[int],
    *,
    equal_steps: bool = True,
    each: Callable[..., Iterable[Any]] = map,
    progress: bool = True,
) -> pd.DataFrame:
    """Train on some of the training images, for each size and seed, and test on the validation images.

    A seed's smaller training sets are parts of its larger ones, each with about equal shares of the classes. With as many
    epochs for all sizes, few images would also mean few steps of the optimiser, and the curve would show both: `fast`,
    trained on 100 MNIST images, has an accuracy of 28 % after one epoch, and of 92 % after as many steps as 54,000 images
    take in one epoch.

    Parameters
    ----------
    sizes : sequence of int, from 1 to the number of training images
    base : mapping
        Fields of `TrainConfig` that all have in common.
    dataset : Dataset
        Its validation images are the same for all; the test images are not touched.
    seeds : sequence of int
        Of the images' choice, the initial weights and the order.
    equal_steps : bool
        Train on fewer images for more epochs, so that each size has about as many steps as the largest one has.
    each, progress
        See `ablations.train_variants`.

    Returns
    -------
    DataFrame
        A row per size and seed; columns images, seed, epochs, accuracy (0 to 1, on validation images).

    Raises
    ------
    ConfigError
        If a size is not possible, or `base` is not valid, before anything is trained.
    """
    sizes = sorted(set(sizes))
    if not sizes or sizes[0] < 1 or sizes[-1] > len(dataset.x_train):
        raise ConfigError(f"sizes: given {sizes}; allowed: from 1 to the {len(dataset.x_train)} training images")
    config = make_config(**dict(base) | {"dataset": dataset.given})
    steps = {size: math.ceil(size / config.batch_size) for size in sizes}  # in an epoch
    longer = {size: steps[sizes[-1]] / steps[size] if equal_steps else 1 for size in sizes}
    epochs = {str(size): max(1, round(config.epochs * longer[size])) for size in sizes}

    def part(size: int) -> Callable[[Dataset, int], Dataset]:
        return lambda whole, seed: _first(whole, size, seed)

    found = train_variants(
        {size: {"epochs": count} for size, count in epochs.items()},
        base,
        dataset,
        seeds,
        change={str(size): part(size) for size in sizes},
        each=each,
        progress=progress,
    )
    table = found.assign(images=found["variant"].astype(int), epochs=found["variant"].map(epochs))
    return table[["images", "seed", "epochs", "accuracy"]].sort_values(["images", "seed"], ignore_index=True)


def _first(dataset: Dataset, size: int, seed: int) -> Dataset:
    kept = np.sort(_stratified_order(dataset.y_train, seed)[:size])
    return replace(dataset, x_train=dataset.x_train[kept], y_train=dataset.y_train[kept])


def _stratified_order(labels: Labels, seed: int) -> Indices:
    """Return a random order of images in which each beginning has about the classes' shares."""
    random = np.random.default_rng(seed)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        place[own] = (np.arange(len(own)) + random.random()) / len(own)
    return place.argsort(kind="stable")
