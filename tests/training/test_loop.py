from __future__ import annotations

import gc
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_utils.data.datasets import Dataset
from mnist_utils.training.config import make_config
from tests.conftest import TINY
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import backend, epochs, fit, loop
else:
    keras = lazy("keras")
    backend = lazy("mnist_utils.training.backend")
    epochs = lazy("mnist_utils.training.epochs")
    fit = lazy("mnist_utils.training.fit")
    loop = lazy("mnist_utils.training.loop")


def regularized(classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 5, strides=4, kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(classes, "softmax", kernel_regularizer="l2"),
        ]
    )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"batch_size": 13, "conv_dropout": 0.2, "dense_dropout": 0.3},  # 16 steps, of which the last has 5 images
        {"model": regularized, "optimizer": "sgd", "learning_rate": 0.05},
        {"precision": "mixed_bfloat16"},
    ],
)
def test_the_weights_are_those_that_keras_s_fit_gives(given: dict[str, Any], tiny: Dataset) -> None:
    config = make_config(**TINY | {"precision": "float32"} | given)
    ours, theirs = (fit.compile_model(config, len(tiny.x_train)) for _ in range(2))
    train_epoch = loop.compile_steps(ours, config.batch_size)
    for epoch in range(2):
        x, y = epochs.epoch_images(tiny.x_train, tiny.y_train, config, epoch)
        reported = list(train_epoch(x, y))
        fed = backend.batches(config.batch_size, x[..., None], y)
        fitted = theirs.fit(fed, shuffle=False, verbose=0).history
        steps, seen = reported[-1]
        assert steps == -(-len(x) // config.batch_size)
        assert seen == pytest.approx({name: values[0] for name, values in fitted.items()}, rel=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_trains_only_as_far_as_it_is_asked_and_reports_the_mean_so_far(tiny: Dataset) -> None:
    config = make_config(**TINY | {"batch_size": 4})  # 50 steps
    model = fit.compile_model(config, len(tiny.x_train))
    x, y = epochs.epoch_images(tiny.x_train, tiny.y_train, config, 0)
    reported = list(islice(loop.compile_steps(model, 4)(x, y), 2))
    assert [steps for steps, _ in reported] == [10, 20]
    assert int(model.optimizer.iterations) == 20
    assert all(
        seen["accuracy"] * steps * 4 == pytest.approx(round(seen["accuracy"] * steps * 4)) for steps, seen in reported
    )


def test_a_callback_may_stop_a_training_within_an_epoch(tiny: Dataset, tmp_path: Path) -> None:
    asked: list[int] = []

    def stop(batch: int, logs: Any) -> None:  # noqa: ARG001 - given by name
        asked.append(batch)
        watch.model.stop_training = batch > 15

    watch: Any = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    config = make_config(**TINY | {"batch_size": 4, "epochs": 3})
    trained = fit.train(config, tiny, tmp_path, callbacks=[watch], progress=False)
    assert asked == [9, 19]
    assert [row["epoch"] for row in trained.history] == [1]


def test_what_was_compiled_is_freed(tiny: Dataset) -> None:
    """In a sweep, one process trains hundreds of networks."""

    def graphs() -> int:
        gc.collect()
        return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())

    x, y = epochs.epoch_images(tiny.x_train, tiny.y_train, config := make_config(**TINY), 0)
    counted = []
    for _ in range(3):
        list(loop.compile_steps(fit.compile_model(config, len(x)), config.batch_size)(x, y))
        counted.append(graphs())
    assert counted[1:] == counted[:-1]
