"""From a `TrainConfig` and a `Dataset` to a trained model and its history; an interrupted training resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support import interrupts
from mnist_utils._support.arrays import Images, log_losses
from mnist_utils._support.progress import progress_display
from mnist_utils.data.classes import DIGITS
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.data.own_change import change_images
from mnist_utils.training import CHECKPOINT
from mnist_utils.training.backend import batches, keras, seeded
from mnist_utils.training.build import build_model
from mnist_utils.training.callbacks import EpochCallbacks
from mnist_utils.training.checkpoint import (
    CheckpointState,
    TrainingError,
    best_loss,
    restore_checkpoint,
    save_checkpoint,
)
from mnist_utils.training.config import TrainConfig
from mnist_utils.training.contract import describe_additions
from mnist_utils.training.epochs import epoch_images
from mnist_utils.training.initialize import freeze_layers
from mnist_utils.training.loop import Seen, compile_steps, curve_points
from mnist_utils.training.optimizer import make_optimizer
from mnist_utils.training.precision import choose_precision

Initialize = Callable[[keras.Model], str]
HISTORY = ("epoch", "accuracy", "loss", "clean_accuracy", "clean_loss", "val_accuracy", "val_loss", "seconds")
_CLEAN = 2000  # training images on which an epoch ends, as they are, beside the validation images; about 0.1 s


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes
    ----------
    model : keras.Model
        In float32, whatever precision it was trained in.
    history : list of dict
        One per epoch: epoch (from 1); accuracy and loss, as the training saw them, with augmentation, dropout and label
        smoothing; clean_accuracy and clean_loss, of training images as they are, at the epoch's end; val_accuracy and
        val_loss, of validation images; seconds.
    curve : list of dict
        Ten per epoch: epoch (its middle, from 0), accuracy, loss; see `loop.curve_points`.
    """

    model: keras.Model
    history: list[dict[str, float]]
    curve: list[dict[str, float]]


def load_training_data(
    config: TrainConfig, *, data_dir: str | Path | None = None, done: Callable[[int, int], None] | None = None
) -> tuple[TrainConfig, Dataset]:
    """Load a configuration's data set; return both, with ``auto`` replaced by the data set's name.

    Parameters
    ----------
    config : TrainConfig
    data_dir, done
        See `load_dataset`.

    Raises
    ------
    DataError
        If the data set is not available.
    ConfigError
        If ``augment`` is ``pictures`` and the data set is not one of digits.
    """
    if config.augment == "pictures" and config.dataset not in ("auto", "mnist", "digits"):
        raise ConfigError(f"augment: pictures draws digits, and {config.dataset} has none; allowed: any other")
    dataset = load_dataset(
        config.dataset,
        data_dir=data_dir,
        validation_fraction=config.validation_fraction,
        train_limit=config.train_limit,
        raw=config.raw,
        skip_unreadable=config.skip_unreadable,
        done=done,
    )
    return config.for_dataset(dataset.name, len(dataset.x_train)), dataset


def check_network(config: TrainConfig, classes: int, initialize: Initialize | None = None) -> list[str]:
    """Build a configuration's network, and call your own augmentation, once before anything is trained.

    Returns
    -------
    list of str
        What had to be added to your own network, and what `initialize` and `freeze` could not do; and what that means.

    Raises
    ------
    ConfigError
        If your own network or augmentation breaks its contract, `initialize` is for another network, or there is nothing to
        freeze.
    """
    if config.own_augment:
        digits = load_dataset("digits").x_test[:8]
        change_images(digits, config.own_augment, np.random.default_rng(0), option="augment")
    if config.network.built_in and not config.from_run and not config.freeze:
        return []
    model = compile_model(config, 1, classes)
    notes = [f"{config.network.name}: {note}" for note in describe_additions(model)]
    if initialize and (note := initialize(model)):
        notes.append(note)
    if config.freeze and not config.from_run:
        notes.append("freeze: those layers keep random weights, as the training does not start from a run (--from)")
    return notes


def train(
    config: TrainConfig,
    dataset: Dataset,
    run: Path,
    *,
    initialize: Initialize | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> Trained:
    """Train a model; save a checkpoint in `run` after each epoch, and resume from an existing one.

    On the same machine, the same configuration gives the same weights, interrupted or not: seed and epoch determine the
    order of the images and their augmentation, and the checkpoint holds everything else.

    Parameters
    ----------
    config : TrainConfig
    dataset : Dataset
        Only its training and validation parts are used.
    run : Path
        An existing folder.
    initialize : callable, optional
        Given the model with fresh weights, it changes them, and says what stays fresh; see `initialize.copy_weights`.
    callbacks : sequence of keras.callbacks.Callback
        Called as by Keras, with ``val_accuracy`` and ``val_loss`` at the end of an epoch; one that sets
        ``model.stop_training`` there ends the training. They are not part of the checkpoint.
    progress : bool
        Show progress, see `_support.progress.progress_display`.

    Raises
    ------
    TrainingError
        If the loss is no longer a number, or the checkpoint cannot be read.
    ConfigError
        If the network keeps not to its contract, or `initialize` is for another one.
    """
    model = compile_model(config, len(dataset.x_train), len(dataset.classes), initialize)
    # The same weights without the optimiser: for validation after each epoch, and returned at the end.
    inference = keras.Model(model.input, model.output, name=model.name)
    state = restore_checkpoint(run / CHECKPOINT, model)
    train_epoch = compile_steps(model, config.batch_size)
    prepare_epoch = partial(epoch_images, dataset.x_train, dataset.y_train, config, classes=len(dataset.classes))
    done = len(state.history)
    with (
        EpochCallbacks(callbacks, model, config, math.ceil(len(dataset.x_train) / config.batch_size)) as called,
        progress_display(config.epochs, done, enabled=progress) as show,
        ThreadPoolExecutor(1) as pool,  # prepares the next epoch's images during training
    ):
        upcoming = pool.submit(prepare_epoch, done)
        for epoch in range(done, config.epochs):
            if _patience_is_over(config, state):
                break
            start = time.perf_counter()
            x, y = upcoming.result()
            if epoch + 1 < config.epochs:
                upcoming = pool.submit(prepare_epoch, epoch + 1)
            called.begin(epoch)
            so_far: list[Seen] = []
            with interrupts.defer_interrupt() as check_interrupt:
                for seen in train_epoch(x, y):
                    check_interrupt()
                    so_far.append(seen)
                    means = seen.means()
                    line = f"epoch {epoch + 1}/{config.epochs}  accuracy {means['accuracy']:.2%}  loss {means['loss']:.4f}"
                    show(epoch + seen.steps / called.steps, line)
                    if called.stepped(seen.steps, means):
                        break
            row = {"epoch": epoch + 1} | means | _evaluate_clean(inference, dataset)
            if not math.isfinite(row["loss"] + row.get("val_loss", 0)):
                raise TrainingError(
                    f"the loss is no longer a number in epoch {epoch + 1}: training diverged. "
                    f"Use a learning_rate below {config.learning_rate:g}."
                )
            state.history.append(row | {"seconds": round(time.perf_counter() - start, 3)})
            state.curve += curve_points(so_far, epoch, called.steps)
            if config.patience and (epoch == 0 or row["val_loss"] < best_loss(state)):
                state.best_epoch, state.best_weights = epoch + 1, model.get_weights()
            try:
                stop = called.end(epoch, row)  # before the checkpoint, which then holds what a callback changed
            finally:
                save_checkpoint(run / CHECKPOINT, model, state)
            show(epoch + 1, line=_epoch_line(state.history[-1], config.epochs))
            if stop:
                break
    if state.best_weights:
        model.set_weights(state.best_weights)
    if choose_precision(config.precision) != "float32":
        inference = build_model(
            config.network,
            classes=len(dataset.classes),
            conv_dropout=config.conv_dropout,
            dense_dropout=config.dense_dropout,
        )
        inference.set_weights(model.get_weights())
    return Trained(inference, state.history, state.curve)


def predict_probabilities(model: keras.Model, x: Images) -> NDArray[np.float32]:
    """Return a model's probabilities, float32, shape (n, classes), for images, uint8, shape (n, 28, 28)."""
    with interrupts.defer_interrupt() as check_interrupt:
        between = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda *_, **__: check_interrupt())
        return np.asarray(model.predict(batches(1000, x[..., None]), callbacks=[between], verbose=0))


def _evaluate_clean(model: keras.Model, dataset: Dataset) -> dict[str, float]:
    """Compare like with like: as many training as validation images, up to 2,000, both as they are."""
    n = len(dataset.x_validation)
    if not n:  # validation_fraction 0
        return {}
    some = np.linspace(0, len(dataset.x_train) - 1, min(n, _CLEAN, len(dataset.x_train))).astype(int)
    labels = np.concatenate([dataset.y_validation, dataset.y_train[some]])
    # With `predict`, whose graph is needed at the end anyway: `evaluate` would make TensorFlow compile another one.
    found = predict_probabilities(model, np.concatenate([dataset.x_validation, dataset.x_train[some]])).astype(np.float64)
    loss = log_losses(found, labels)
    correct = found.argmax(axis=1) == labels
    parts = {"clean": slice(n, None), "val": slice(n)}
    return {
        f"{part}_{name}": float(values[rows].mean())
        for part, rows in parts.items()
        for name, values in (("accuracy", correct), ("loss", loss))
    }


def compile_model(
    config: TrainConfig, n: int, classes: int = len(DIGITS), initialize: Initialize | None = None
) -> keras.Model:
    """Build a model with its optimiser, ready to train on `n` images per epoch."""
    keras.utils.clear_session()  # else the layers' names, by which some may be frozen, count on from an earlier model
    with seeded(config.seed):
        model = build_model(
            config.network,
            classes=classes,
            conv_dropout=config.conv_dropout,
            dense_dropout=config.dense_dropout,
            precision=choose_precision(config.precision),
        )
    if initialize:
        initialize(model)
    freeze_layers(model, config.freeze)
    model.compile(
        make_optimizer(config, math.ceil(n / config.batch_size) * config.epochs),
        "categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # as in `loop`, for a caller's own `fit`
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _patience_is_over(config: TrainConfig, state: CheckpointState) -> bool:
    return config.patience is not None and len(state.history) - state.best_epoch >= config.patience


def _epoch_line(row: dict[str, float], epochs: int) -> str:
    shown = "accuracy", "loss", "val_accuracy", "val_loss"
    numbers = (f"{name} {row[name]:{'.2%' if 'accuracy' in name else '.4f'}}" for name in shown if name in row)
    return f"epoch {row['epoch']:.0f}/{epochs}  {'  '.join(numbers)}  {row['seconds']:.1f} s"
