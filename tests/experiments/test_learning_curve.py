from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.training.config import TrainConfig
from tests.lazy import lazy

if TYPE_CHECKING:
    from mnist_utils.experiments import learning_curve
else:
    learning_curve = lazy("mnist_utils.experiments.learning_curve")

BASE: dict[str, Any] = {"model": "fast", "epochs": 2, "batch_size": 50, "precision": "float32"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


class Recorder:
    """Stand for the training: remember what it was given, and return an accuracy that tells the size and the seed."""

    def __init__(self) -> None:
        self.given: list[tuple[TrainConfig, Dataset]] = []

    def __call__(
        self, _: Callable[..., Any], configs: Iterable[TrainConfig], data: Iterable[Dataset]
    ) -> Iterator[dict[str, float]]:
        for config, dataset in zip(configs, data, strict=True):
            self.given.append((config, dataset))
            yield {"accuracy": len(dataset.x_train) / 1000 + config.seed / 10, "inverted_accuracy": 0.0, "seconds": 1.0}


def rows_of(part: Dataset, whole: Dataset) -> set[int]:
    """Return which of the images a part has; they differ from each other in some pixel."""
    places = {image.tobytes(): i for i, image in enumerate(whole.x_train)}
    return {places[image.tobytes()] for image in part.x_train}


def test_smaller_parts_lie_in_larger_ones_with_the_classes_shares(digits: Dataset) -> None:
    each = Recorder()
    table = learning_curve.train_sizes((500, 50, 100, 500), BASE, digits, (0, 1), each=each, progress=False)
    assert table[["images", "seed"]].to_numpy().tolist() == [[size, seed] for size in (50, 100, 500) for seed in (0, 1)]
    assert table["accuracy"].tolist() == pytest.approx([0.05, 0.15, 0.1, 0.2, 0.5, 0.6])
    shares = np.bincount(digits.y_train) / len(digits.y_train)
    for seed in 0, 1:
        parts = [part for config, part in each.given if config.seed == seed]
        rows = [rows_of(part, digits) for part in parts]
        assert rows[0] < rows[1] < rows[2]
        for part, size in zip(parts, (50, 100, 500), strict=True):
            assert len(part.y_train) == size
            assert np.abs(np.bincount(part.y_train, minlength=10) - size * shares).max() < 2
            np.testing.assert_array_equal(part.x_validation, digits.x_validation)
    assert rows_of(each.given[0][1], digits) != rows_of(each.given[3][1], digits)  # other seeds, other images


def test_images_keep_their_labels(digits: Dataset) -> None:
    each = Recorder()
    learning_curve.train_sizes((60,), BASE, digits, (3,), each=each, progress=False)
    labels = {image.tobytes(): label for image, label in zip(digits.x_train, digits.y_train, strict=True)}
    part = each.given[0][1]
    assert part.y_train.tolist() == [labels[image.tobytes()] for image in part.x_train]


def test_fewer_images_are_passed_over_more_often(digits: Dataset) -> None:
    found = learning_curve.train_sizes((30, 100, 1000), BASE, digits, (0,), each=Recorder(), progress=False)
    assert found["epochs"].tolist() == [40, 20, 2]  # 1, 2 and 20 steps in an epoch
    each = Recorder()
    found = learning_curve.train_sizes((30, 1000), BASE, digits, (0,), equal_steps=False, each=each, progress=False)
    assert found["epochs"].tolist() == [2, 2]
    assert [config.epochs for config, _ in each.given] == [2, 2]


def test_more_images_give_a_higher_accuracy(digits: Dataset) -> None:
    found = learning_curve.train_sizes((20, 800), BASE | {"epochs": 3}, digits, (0,), progress=False)
    assert found["accuracy"].is_monotonic_increasing
    assert found["accuracy"].iloc[-1] > 0.8


@pytest.mark.parametrize("sizes", [(), (0, 100), (100, 10**6)])
def test_a_size_must_be_possible(digits: Dataset, sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="allowed: from 1 to the"):
        learning_curve.train_sizes(sizes, BASE, digits, (0,), progress=False)
