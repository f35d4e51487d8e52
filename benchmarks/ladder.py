"""How the recipe of `fast` came about: each step from a plain recipe to it, and what was tried and left out.

python -m benchmarks.ladder [--seeds 4] [--write]

Validation images only; the test images are not touched. Takes about a quarter of an hour on two cores. Needs real MNIST
(MNIST_DATA_DIR).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.results import arguments, publish, where
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.training import fit
from mnist_utils.training.backend import keras, layers
from mnist_utils.training.config import make_config
from mnist_utils.training.precision import choose_precision


@dataclass(frozen=True)
class Recipe:
    """A network of two convolutions and one dense layer, and how it is trained."""

    filters: tuple[int, int] = (24, 32)
    kernels: tuple[int, int] = (5, 3)
    pooling: str = "max"  # max, average or stride
    normalised: bool = False
    activation: str = "relu"
    units: int = 256
    epochs: int = 2
    batch_size: int = 256
    learning_rate: float = 5e-3
    label_smoothing: float = 0.0
    augment: str = "none"


START = Recipe()
STRIDED = replace(START, pooling="stride")
NORMALISED = replace(STRIDED, normalised=True)
WIDER = replace(NORMALISED, kernels=(5, 5))
SMOOTHED = replace(WIDER, label_smoothing=0.05)
SHIFTED = replace(SMOOTHED, augment="shift")
STEEPER = replace(SHIFTED, batch_size=128, learning_rate=3e-2)
FAST = replace(STEEPER, epochs=1)
STEPS = (
    ("two convolutions with max pooling", START, "start"),
    ("average pooling", replace(START, pooling="average"), "no: strides are faster still"),
    ("strides in place of pooling", STRIDED, "kept, for the time"),
    ("batch normalisation", NORMALISED, "kept"),
    ("the second kernel 5x5, as the first", WIDER, "kept: fewer positions are left, so it is faster too"),
    ("label smoothing 0.05", SMOOTHED, "kept"),
    ("shift each image by up to a pixel", SHIFTED, "kept"),
    ("batch 128, peak learning rate 0.03", STEEPER, "kept"),
    ("one epoch", FAST, "kept: this is `fast`"),
    ("... with 16 first filters", replace(FAST, filters=(16, 32)), "no"),
    ("... with 32 and 64 filters", replace(FAST, filters=(32, 64)), "no"),
    ("... with 128 units", replace(FAST, units=128), "no"),
    ("... with SiLU", replace(FAST, activation="silu"), "no"),
    ("... with batch 64, peak 0.02", replace(FAST, batch_size=64, learning_rate=2e-2), "no"),
    ("... without the shifts", replace(FAST, augment="none"), "no"),
    ("... with affine changes", replace(FAST, augment="affine"), "no: too hard for one epoch"),
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    publish("python -m benchmarks.ladder --write", _measure(options.seeds), keep=options.write)


def _measure(seeds: int) -> str:
    keras.config.set_dtype_policy(choose_precision("auto"))
    machine, dataset = where(), load_dataset("mnist")
    lines = [
        f"{machine} MNIST, {len(dataset.x_train):,} training images; accuracy on {len(dataset.x_validation):,} validation "
        f"images, mean and standard deviation over {seeds} seeds; seconds: the shortest training, compiling included.",
        "",
        "| step | seconds | validation accuracy | parameters | kept? |",
        "|---|---:|---:|---:|---|",
    ]
    for name, recipe, kept in STEPS:
        found = [_train(recipe, dataset, seed) for seed in range(seeds)]
        accuracies, seconds = np.array(found).T
        lines.append(
            f"| {name} | {seconds.min():.1f} | {accuracies.mean():.2%} ± {accuracies.std(ddof=1):.2%} "
            f"| {_builder(recipe)().count_params():,} | {kept} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _train(recipe: Recipe, dataset: Dataset, seed: int) -> tuple[float, float]:
    names = ("epochs", "batch_size", "learning_rate", "label_smoothing", "augment")
    given = {name: getattr(recipe, name) for name in names}
    keras.utils.set_random_seed(seed)
    config = make_config(model="fast", dataset="mnist", seed=seed, **given)
    network = _builder(recipe)()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(fit, "build_model", return_value=network):
        history = fit.train(config, dataset, Path(folder), progress=False).history
    return history[-1]["val_accuracy"], sum(row["seconds"] for row in history)


def _builder(recipe: Recipe) -> Callable[[], keras.Model]:
    def finish(x: keras.KerasTensor) -> keras.KerasTensor:
        if recipe.normalised:
            x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.Activation(recipe.activation)(x)

    def build() -> keras.Model:
        inputs = keras.Input((28, 28, 1))
        x = layers.Rescaling(1 / 255)(inputs)
        biased = not recipe.normalised
        for filters, kernel in zip(recipe.filters, recipe.kernels, strict=True):
            strides = 2 if recipe.pooling == "stride" else 1
            x = layers.Conv2D(filters, kernel, strides=strides, use_bias=biased)(x)
            if recipe.pooling == "max":
                x = layers.MaxPooling2D()(x)
            elif recipe.pooling == "average":
                x = layers.AveragePooling2D(2)(x)
            x = finish(x)
        x = finish(layers.Dense(recipe.units, use_bias=biased)(layers.Flatten()(x)))
        return keras.Model(inputs, layers.Dense(10, activation="softmax", dtype="float32")(x))

    return build


if __name__ == "__main__":
    main()
