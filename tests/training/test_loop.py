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
        assert reported[-1].steps == -(-len(x) // config.batch_size)
        assert reported[-1].means() == pytest.approx({name: values[0] for name, values in fitted.items()}, rel=1e-5)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_trains_only_as_far_as_it_is_asked_and_reports_the_mean_so_far(tiny: Dataset) -> None:
    config = make_config(**TINY | {"batch_size": 4})  # 50 steps
    model = fit.compile_model(config, len(tiny.x_train))
    x, y = epochs.epoch_images(tiny.x_train, tiny.y_train, config, 0)
    reported = list(islice(loop.compile_steps(model, 4)(x, y), 2))
    assert [(seen.steps, seen.images) for seen in reported] == [(5, 20), (10, 40)]
    assert int(model.optimizer.iterations) == 10
    assert 0 <= reported[0].correct <= reported[1].correct <= reported[0].correct + 20


def test_the_cross_entropy_is_against_the_labels_of_those_images_that_have_one(tiny: Dataset) -> None:
    """The oracle is NumPy, on a network that does not learn; every fourth image belongs to no class, as with `pictures`."""
    config = make_config(**TINY | {"batch_size": 50, "learning_rate": 1e-12, "optimizer": "sgd", "conv_dropout": 0})
    model = fit.compile_model(config, len(tiny.x_train))
    targets = epochs.one_hot_targets(tiny.y_train, 0.3)
    targets[::4] = 0.1
    with_label = np.arange(len(targets)) % 4 > 0
    found = np.concatenate([np.asarray(model(x[..., None], training=True)) for x in np.split(tiny.x_train, 4)])
    of_label = found[np.arange(len(found)), tiny.y_train][with_label]
    *_, seen = loop.compile_steps(model, 50)(tiny.x_train, targets)
    assert (seen.images, seen.labelled) == (200, 150)
    assert seen.correct == (found.argmax(axis=1) == tiny.y_train)[with_label].sum()
    assert seen.cross_entropy == pytest.approx(-np.log(of_label).sum(), rel=1e-4)
    assert seen.means()["loss"] == pytest.approx(-(targets * np.log(found)).sum(axis=1).mean(), rel=1e-4)


def test_an_epoch_is_drawn_in_ten_parts() -> None:
    seen = [loop.Seen(steps, steps * 8, steps * 8, steps**2, steps * 16.0, 0.0) for steps in range(3, 31, 3)]
    rows = loop.curve_points(seen, 2, 30)
    assert [row["epoch"] for row in rows] == pytest.approx([2 + (i + 0.5) / 10 for i in range(10)])
    assert [row["accuracy"] for row in rows] == pytest.approx([(2 * i + 1) * 9 / 24 for i in range(10)])
    assert {row["loss"] for row in rows} == {2.0}


@pytest.mark.parametrize(("reported", "ends"), [([10, 20, 25], [10, 20, 25]), ([10], [10]), (list(range(1, 26)), 10)])
def test_an_epoch_has_no_more_parts_than_reports(reported: list[int], ends: list[int] | int) -> None:
    seen = [loop.Seen(steps, steps, steps, 0, 0.0, 0.0) for steps in reported]
    rows = loop.curve_points(seen, 0, 25)
    if isinstance(ends, int):
        assert len(rows) == ends
    else:
        middles = [(a + b) / 50 for a, b in zip([0, *ends], ends, strict=False)]
        assert [row["epoch"] for row in rows] == pytest.approx(middles)


def test_a_callback_may_stop_a_training_within_an_epoch(tiny: Dataset, tmp_path: Path) -> None:
    asked: list[int] = []

    def stop(batch: int, logs: Any) -> None:  # noqa: ARG001 - given by name
        asked.append(batch)
        watch.model.stop_training = batch > 15

    watch: Any = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
    config = make_config(**TINY | {"batch_size": 4, "epochs": 3})
    trained = fit.train(config, tiny, tmp_path, callbacks=[watch], progress=False)
    assert asked == [4, 9, 14, 19]
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
