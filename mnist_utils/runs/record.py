"""Record a run: train, evaluate, draw, write each file atomically; mark the run incomplete until the last one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support import files, interrupts
from mnist_utils.runs.environment import cpu_name, git_commit, package_versions
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_complete, mark_incomplete, new_run_folder, remove_leftovers, run_lock
from mnist_utils.runs.inference import FORMAT
from mnist_utils.runs.run import AUGMENT, FIGURES, NETWORK, Run, RunError, RunMetrics
from mnist_utils.training import CHECKPOINT

if TYPE_CHECKING:
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.backend import keras
    from mnist_utils.training.config import TrainConfig


def record_run(
    config: TrainConfig,
    dataset: Dataset,
    name: str,
    results: Path,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
    lock_seconds: float = 0,
) -> Run:
    """Train a model, test it once, and write everything about it into ``results/name``.

    An incomplete run of that name with the same configuration and data is resumed; a complete one is returned as it is.

    Parameters
    ----------
    config : TrainConfig
        From `make_config`, which also takes your own network.
    dataset : Dataset
    name, results : str, Path
        The run's folder, and the folder of all runs.
    callbacks : sequence of keras.callbacks.Callback
        See `training.fit.train`.
    progress : bool
        Show it.
    lock_seconds : float
        How long to wait for another process that uses the run.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, the run was started with something else, another process uses it, or the network
        keeps not to its contract.
    OSError
        If it cannot be written: what was written stays, and the same call resumes.
    """
    folder = new_run_folder(name, results)
    with run_lock(folder, name, seconds=lock_seconds):
        return _record_locked(config, dataset, folder, callbacks, progress)


def _record_locked(
    config: TrainConfig, dataset: Dataset, folder: Path, callbacks: Sequence[keras.callbacks.Callback], progress: bool
) -> Run:
    remove_leftovers(folder)
    opened = _open_folder(config, dataset, folder)
    if opened.metrics:
        return opened
    # What `auto` stood for when the run began: another machine might choose otherwise.
    config = config.model_copy(update={"precision": opened.facts["cpu"]["precision"]})
    try:
        mark_incomplete(folder, "training", "training was not finished")
        _train_and_write(config, dataset, opened, callbacks, progress)
    except KeyboardInterrupt:
        mark_incomplete(folder, "training", "stopped by Ctrl-C")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk: the earlier mark still stands
            mark_incomplete(folder, "training", f"{type(error).__name__}: {error}".removesuffix(": "))
        raise
    (folder / CHECKPOINT).unlink(missing_ok=True)
    mark_complete(folder, "training")
    return read_run(folder, folder.parent)


def check_same_config(run: Run, wanted: dict[str, Any]) -> None:
    """Refuse to resume a run that was started with something else.

    Parameters
    ----------
    run : Run
    wanted : dict
        Fields of `TrainConfig`, and perhaps ``sha256`` of the data set.

    Raises
    ------
    RunError
        Names what differs.
    """
    had = run.config.model_dump() | {"sha256": run.sha256}
    differing = [f"{name} {had.get(name)}, now {value}" for name, value in wanted.items() if had.get(name) != value]
    if differing:
        further = f", or train it further in another run (--from {run.name})" if run.metrics else ""
        raise RunError(
            f"run {run.name} was started with {'; '.join(differing)}. "
            f"Choose another name (--run), or delete {run.path}{further}"
        )


def check_resumable(folder: Path, config: TrainConfig, dataset: Dataset) -> int:
    """Refuse a run's folder that was started with something else; return how many epochs are done.

    Raises
    ------
    RunError
        Names what differs.
    """
    if not (folder / "config.json").exists():
        return 0
    run = read_run(folder, folder.parent)
    check_same_config(run, config.model_dump() | {"sha256": dataset.sha256})
    return run.epochs_done or 0


def _open_folder(config: TrainConfig, dataset: Dataset, folder: Path) -> Run:
    """Open the folder of a new or an incomplete run; refuse one that was started with something else."""
    from mnist_utils.training.fit import check_network
    from mnist_utils.training.precision import choose_precision

    check_resumable(folder, config, dataset)
    if (folder / "config.json").exists():
        return read_run(folder, folder.parent)
    check_network(config, len(dataset.classes), make_initialize(config, folder.parent))
    mark_incomplete(folder, "training", "training was not finished")  # before config.json makes the folder a run
    network = config.network
    if not network.built_in:
        files.write_text_atomic(folder / NETWORK, network.text)
    if config.own_augment:
        files.write_text_atomic(folder / AUGMENT, config.own_augment.text)
    start = find_start(config, folder.parent)
    content = {
        "format": FORMAT,
        "config": config.model_dump(),
        "network": {"name": network.name, "sha256": network.source.sha256},
        "from": {"run": start.name, "sha256": _sha256(start.path / "model.keras")} if start else None,
        # Not where the files lay: that is a path of one person's machine, and the hash says more.
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "note": dataset.note, "classes": dataset.classes},
        "versions": package_versions(),
        "git_commit": git_commit(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "precision": choose_precision(config.precision)},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_text_atomic(folder / "config.json", json.dumps(content, indent=2))
    return read_run(folder, folder.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_start(config: TrainConfig, results: Path) -> Run | None:
    """Return the run from whose weights a training starts; None if from fresh ones.

    Raises
    ------
    RunError
        If there is no such run, or it is incomplete.
    """
    if not config.from_run:
        return None
    run = read_run(config.from_run, results)
    run.trained("weights to start from")
    if run.config.dataset == config.dataset and run.config.validation_fraction != config.validation_fraction:
        raise RunError(
            f"run {run.name} was trained with validation_fraction {run.config.validation_fraction:g}, now "
            f"{config.validation_fraction:g}: it would be validated on images that it was trained on"
        )
    return run


def make_initialize(config: TrainConfig, results: Path) -> Callable[[keras.Model], None] | None:
    """Return what gives a new model the weights that a training starts from; None for fresh ones. See `find_start`."""
    from mnist_utils.training.initialize import copy_weights

    if (start := find_start(config, results)) is None:
        return None
    return partial(copy_weights, start.path / "model.keras", temperature=start.trained().temperature)


def _temperature(config: TrainConfig, dataset: Dataset, model: keras.Model, validation: NDArray[np.float32]) -> float:
    """Fit the temperature on validation images; for pictures, on such as are about as hard to predict as people's.

    MNIST's own are too easy for that: on real pictures, a model that is calibrated on them is far too confident.
    """
    from mnist_utils.data.augmentation import augment
    from mnist_utils.data.drawn import draw_digits
    from mnist_utils.evaluation.calibration import fit_temperature
    from mnist_utils.training.fit import predict_probabilities

    if (validation.argmax(axis=1) == dataset.y_validation).all():
        return 1.0  # without an error, or without images, nothing says how seldom there are errors
    if config.augment != "pictures":
        return fit_temperature(validation, dataset.y_validation)
    random = np.random.default_rng((config.seed, 1))
    hard = augment(draw_digits(dataset.y_validation, random), "erase", random)
    return fit_temperature(predict_probabilities(model, hard), dataset.y_validation)


def _train_and_write(
    config: TrainConfig, dataset: Dataset, run: Run, callbacks: Sequence[keras.callbacks.Callback], progress: bool
) -> None:
    # TensorFlow and matplotlib: whoever lists or compares runs does without.
    import pandas as pd

    from mnist_utils.evaluation.calibration import apply_temperature
    from mnist_utils.evaluation.metrics import compute_metrics
    from mnist_utils.training.build import fold_temperature
    from mnist_utils.training.fit import predict_probabilities, train

    folder = run.path
    initialize = make_initialize(config, folder.parent)
    trained = train(config, dataset, folder, initialize=initialize, callbacks=callbacks, progress=progress)
    mark_incomplete(folder, "training", "evaluation was not finished")
    start = time.perf_counter()
    validation = np.zeros((0, len(dataset.classes)), np.float32)  # for a validation_fraction of 0
    if len(dataset.x_validation):
        validation = predict_probabilities(trained.model, dataset.x_validation)
    test = predict_probabilities(trained.model, dataset.x_test)  # the test set is opened here, once
    temperature = _temperature(config, dataset, trained.model, validation)
    model = fold_temperature(trained.model, temperature)
    with interrupts.defer_interrupt():  # in the middle of it, Ctrl-C would come out as some error of TensorFlow's
        files.write_atomic(folder / "model.keras", model.save)
        files.write_atomic(folder / "model.tflite", lambda path: model.export(path, format="litert", verbose=False))
    predictions: dict[str, Any] = {
        "probabilities": apply_temperature(test, temperature).astype(np.float32),
        "labels": dataset.y_test,
        "validation_probabilities": apply_temperature(validation, temperature).astype(np.float32),
        "validation_labels": dataset.y_validation,
    }
    files.write_atomic(folder / "predictions.npz", lambda path: np.savez_compressed(path, **predictions))
    history = pd.DataFrame(trained.history)
    files.write_atomic(folder / "history.csv", lambda path: history.to_csv(path, index=False))
    seconds = {"training": round(float(history["seconds"].sum()), 2), "evaluation": round(time.perf_counter() - start, 2)}
    metrics = RunMetrics(
        validation=compute_metrics(validation, dataset.y_validation) if len(validation) else None,
        test=compute_metrics(test, dataset.y_test),
        temperature=temperature,
        seconds=seconds,
    )
    files.write_text_atomic(folder / "metrics.json", json.dumps(asdict(metrics), indent=2))
    (folder / "figures").mkdir(exist_ok=True)
    run = replace(run, metrics=metrics)
    for name in FIGURES:
        figure = run.figure(name)
        files.write_atomic(folder / "figures" / f"{name}.png", partial(figure.savefig, dpi=120))
