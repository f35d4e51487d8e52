"""What a run's folder holds, from a model on: its configuration, its predictions, what they say, the calibrated model."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support import files, interrupts
from mnist_utils._support.arrays import log_losses
from mnist_utils.runs.environment import cpu_name, git_commit, package_versions
from mnist_utils.runs.inference import FORMAT
from mnist_utils.runs.run import Run, RunMetrics

_FOLDS = 5  # in which a temperature is judged by images that it was not fitted on

if TYPE_CHECKING:
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.backend import keras
    from mnist_utils.training.config import TrainConfig


def write_config(folder: Path, config: TrainConfig, dataset: Dataset, origin: Mapping[str, Any], precision: str) -> None:
    """Write ``config.json``.

    Parameters
    ----------
    folder : Path
        The run's.
    config : TrainConfig
    dataset : Dataset
    origin : mapping
        Where the model comes from: ``network``, and perhaps ``from``.
    precision : str
        The arithmetic of its training.
    """
    parts = {"training": dataset.y_train, "validation": dataset.y_validation, "test": dataset.y_test}
    images = {part: len(labels) for part, labels in parts.items()}
    content = {
        "format": FORMAT,
        "config": config.model_dump(),
        **origin,
        # Not where the files lay: that is a path of one person's machine, and the hash says more.
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "note": dataset.note, "classes": dataset.classes}
        | {"images": images},
        "versions": package_versions(),
        "git_commit": git_commit(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "precision": precision},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_text_atomic(folder / "config.json", json.dumps(content, indent=2))


def file_sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_results(
    run: Run,
    dataset: Dataset,
    model: keras.Model,
    history: Sequence[dict[str, float]] = (),
    curve: Sequence[dict[str, float]] = (),
) -> None:
    """Test a model, calibrate it, and write all that a run holds beside ``config.json``.

    Parameters
    ----------
    run : Run
        Its folder has a ``config.json``.
    dataset : Dataset
    model : keras.Model
        Not calibrated; it may be changed in place.
    history, curve : sequence of dict
        See `training.fit.Trained`; empty where the model was trained elsewhere.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    # TensorFlow and matplotlib: whoever lists or compares runs does without.
    import pandas as pd

    from mnist_utils.evaluation.calibration import apply_temperature
    from mnist_utils.evaluation.metrics import compute_metrics
    from mnist_utils.runs.card import write_card
    from mnist_utils.training.build import fold_temperature
    from mnist_utils.training.fit import predict_probabilities

    start = time.perf_counter()
    validation = np.zeros((0, len(dataset.classes)), np.float32)  # for a validation_fraction of 0
    if len(dataset.x_validation):
        validation = predict_probabilities(model, dataset.x_validation)
    test = predict_probabilities(model, dataset.x_test)  # the test set is opened here, once
    temperature, interval = _temperature(run.config, dataset, model, validation)
    model = fold_temperature(model, temperature)
    with interrupts.defer_interrupt():  # in the middle of it, Ctrl-C would come out as some error of TensorFlow's
        files.write_atomic(run.path / "model.keras", model.save)
        files.write_atomic(run.path / "model.tflite", lambda path: model.export(path, format="litert", verbose=False))
    predictions: dict[str, Any] = {
        "probabilities": apply_temperature(test, temperature).astype(np.float32),
        "labels": dataset.y_test,
        "validation_probabilities": apply_temperature(validation, temperature).astype(np.float32),
        "validation_labels": dataset.y_validation,
    }
    files.write_atomic(run.path / "predictions.npz", lambda path: np.savez_compressed(path, **predictions))
    for name, rows in ("history.csv", history), ("curve.csv", curve):
        if rows:
            files.write_atomic(run.path / name, partial(pd.DataFrame(rows).to_csv, index=False))
    training = sum(row["seconds"] for row in history)
    seconds = {"training": round(training, 2), "evaluation": round(time.perf_counter() - start, 2)}
    metrics = RunMetrics(
        validation=compute_metrics(validation, dataset.y_validation) if len(validation) else None,
        test=compute_metrics(test, dataset.y_test),
        temperature=temperature,
        temperature_interval=interval,
        seconds=seconds,
    )
    files.write_text_atomic(run.path / "metrics.json", json.dumps(asdict(metrics), indent=2))
    (run.path / "figures").mkdir(exist_ok=True)
    run = replace(run, metrics=metrics)
    for name in run.figures:
        figure = run.figure(name)
        files.write_atomic(run.path / "figures" / f"{name}.png", partial(figure.savefig, dpi=120))
    write_card(run)


def _temperature(
    config: TrainConfig, dataset: Dataset, model: keras.Model, validation: NDArray[np.float32]
) -> tuple[float, tuple[float, float] | None]:
    """Fit the temperature, with its interval, on validation images; 1 and None if it does not help on others of them.

    With fewer than five errors, others cannot say.

    For pictures, on such as are about as hard to predict as people's. MNIST's own are too easy for that: on real pictures,
    a model that is calibrated on them is far too confident.
    """
    from mnist_utils.data.augmentation import augment
    from mnist_utils.data.drawn import draw_digits
    from mnist_utils.evaluation.calibration import fit_temperature
    from mnist_utils.evaluation.calibrators import cross_fit, temperature_calibrator, temperature_interval
    from mnist_utils.training.fit import predict_probabilities

    probabilities, labels = validation, dataset.y_validation
    if config.augment == "pictures" and len(labels):
        random = np.random.default_rng((config.seed, 1))
        hard = augment(draw_digits(labels, random), "erase", random)
        probabilities = predict_probabilities(model, hard)
    errors = int((probabilities.argmax(axis=1) != labels).sum())
    if not errors:
        return 1.0, None  # without an error, or without images, nothing says how seldom there are errors
    if errors >= _FOLDS:  # with fewer, a fold may be without one, and others cannot judge
        on_others = cross_fit(probabilities, labels, temperature_calibrator, folds=_FOLDS)
        if log_losses(on_others, labels).mean() >= log_losses(probabilities, labels).mean():
            return 1.0, None
    temperature = fit_temperature(probabilities, labels)
    interval = temperature_interval(probabilities, labels, temperature)
    return temperature, interval if np.isfinite(interval).all() else None
