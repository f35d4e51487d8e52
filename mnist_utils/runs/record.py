"""Record a run: train, evaluate, draw, write each file atomically; mark the run incomplete until the last one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support import files, interrupts
from mnist_utils.runs.environment import cpu_name, git_commit, package_versions
from mnist_utils.runs.find import read_marks, read_run
from mnist_utils.runs.inference import FORMAT
from mnist_utils.runs.run import FIGURES, INCOMPLETE, NOTEBOOKS, Part, Run, RunError, RunMetrics
from mnist_utils.training import CHECKPOINT

if TYPE_CHECKING:
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.backend import keras
    from mnist_utils.training.config import TrainConfig

LOCKED_FOLDER = "MNIST_LOCKED_FOLDER"  # environment variable of the kernels of `mnist run`: the folder that it works on


def new_run_name(config: TrainConfig, results: Path) -> str:
    """Make a folder for a run in `results`, named by date and model, and return its name."""
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{config.model}"
    results.mkdir(parents=True, exist_ok=True)
    for name in (stem, *(f"{stem}-{n}" for n in range(2, 1000))):  # others may begin in the same second
        with contextlib.suppress(FileExistsError):
            (results / name).mkdir()
            return name
    raise RunError(f"there are a thousand runs {stem} in {results}; give this one a name with --run")


def new_run_folder(name: str, results: Path, *, option: str = "run") -> Path:
    """Make the folder of the run `name` in `results`, if it is not there yet; the name was given as `option`.

    Raises
    ------
    ConfigError
        If the name cannot be a folder's.
    OSError
        If it cannot be made.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name, re.ASCII):
        raise ConfigError(
            f"{option}: given {name!r}; allowed: up to 100 letters, digits, '_', '-', '.', '+' and '=', no leading '.'"
        )
    (results / name).mkdir(parents=True, exist_ok=True)
    return results / name


def record_run(
    config: TrainConfig, dataset: Dataset, name: str, results: Path, *, progress: bool = True, lock_seconds: float = 0
) -> Run:
    """Train a model, test it once, and write everything about it into ``results/name``.

    An incomplete run of that name with the same configuration and data is resumed; a complete one is returned as it is.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, the run was started with something else, or another process uses it.
    OSError
        If it cannot be written: what was written stays, and the same call resumes.
    """
    folder = new_run_folder(name, results)
    with run_lock(folder, name, seconds=lock_seconds):
        return _record_locked(config, dataset, folder, progress)


@contextlib.contextmanager
def run_lock(folder: Path, name: str, *, kind: str = "run", option: str = "run", seconds: float = 0) -> Iterator[None]:
    """Keep other processes out of a folder of the run `name`, or of another `kind`; the name was given as `option`.

    The kernels that `mnist run` starts meanwhile belong to it and are let in. Who waits `seconds` for another process's end
    gets in after it.

    Raises
    ------
    RunError
        If another one is in it.
    """
    from filelock import FileLock, Timeout

    if os.environ.get(LOCKED_FOLDER) == str(folder.resolve()):
        yield
        return
    lock = FileLock(folder / ".lock", timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        who = f"another process is using {kind} {name}"
        raise RunError(f"{who}; wait for it, or choose another name (--{option})") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink()  # nobody waits for it, so nobody can hold on to the removed file
        lock.release()


def mark_incomplete(folder: Path, part: Part, why: str) -> None:
    """Mark a part of a run as incomplete, see `runs.find.read_marks`."""
    _write_marks(folder, read_marks(folder) | {part: next(iter(why.splitlines()), "")})


def mark_complete(folder: Path, part: Part) -> None:
    """Take a part's mark away."""
    _write_marks(folder, {name: why for name, why in read_marks(folder).items() if name != part})


def _write_marks(folder: Path, marks: dict[str, str]) -> None:
    if marks:
        files.write_text_atomic(folder / INCOMPLETE, "".join(f"{part}: {why}\n" for part, why in marks.items()))
    else:
        (folder / INCOMPLETE).unlink(missing_ok=True)
    (folder / NOTEBOOKS / INCOMPLETE).unlink(missing_ok=True)  # of an earlier version


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of a process that was killed; whoever calls this holds the run's lock."""
    for leftover in folder.rglob(".writing-*"):
        leftover.unlink()


def _record_locked(config: TrainConfig, dataset: Dataset, folder: Path, progress: bool) -> Run:
    remove_leftovers(folder)
    opened = _open_folder(config, dataset, folder)
    if opened.metrics:
        return opened
    # What `auto` stood for when the run began: another machine might choose otherwise.
    config = config.model_copy(update={"precision": opened.facts["cpu"]["precision"]})
    try:
        mark_incomplete(folder, "training", "training was not finished")
        _train_and_write(config, dataset, opened, progress)
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
    from mnist_utils.training.config import TrainConfig

    had = {name: field.default for name, field in TrainConfig.model_fields.items()}  # of what an earlier version had not
    had |= run.facts["config"] | {"sha256": run.sha256}
    differing = [f"{name} {had.get(name)}, now {value}" for name, value in wanted.items() if had.get(name) != value]
    if differing:
        raise RunError(
            f"run {run.name} was started with {'; '.join(differing)}. Choose another name (--run), or delete {run.path}"
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
    from mnist_utils.training.config import choose_precision

    check_resumable(folder, config, dataset)
    if (folder / "config.json").exists():
        return read_run(folder, folder.parent)
    mark_incomplete(folder, "training", "training was not finished")  # before config.json makes the folder a run
    content = {
        "format": FORMAT,
        "config": config.model_dump(),
        # Not where the files lay: that is a path of one person's machine, and the hash says more.
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "note": dataset.note, "classes": dataset.classes},
        "versions": package_versions(),
        "git_commit": git_commit(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "precision": choose_precision(config.precision)},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_text_atomic(folder / "config.json", json.dumps(content, indent=2))
    return read_run(folder, folder.parent)


def _temperature(config: TrainConfig, dataset: Dataset, model: keras.Model, validation: NDArray[np.float32]) -> float:
    """Fit the temperature on validation images; for pictures, on such as are about as hard to predict as people's.

    MNIST's own are too easy for that: on real pictures, a model that is calibrated on them is far too confident.
    """
    from mnist_utils.data.augmentation import augment
    from mnist_utils.data.drawn import draw_digits
    from mnist_utils.evaluation.calibration import fit_temperature
    from mnist_utils.training.fit import predict_probabilities

    if (validation.argmax(axis=1) == dataset.y_validation).all():
        return 1.0  # without an error, nothing says how seldom there are errors; as with few images
    if config.augment != "pictures":
        return fit_temperature(validation, dataset.y_validation)
    random = np.random.default_rng((config.seed, 1))
    hard = augment(draw_digits(dataset.y_validation, random), "erase", random)
    return fit_temperature(predict_probabilities(model, hard), dataset.y_validation)


def _train_and_write(config: TrainConfig, dataset: Dataset, run: Run, progress: bool) -> None:
    # TensorFlow and matplotlib: whoever lists or compares runs does without.
    import pandas as pd

    from mnist_utils.evaluation.calibration import apply_temperature
    from mnist_utils.evaluation.metrics import compute_metrics
    from mnist_utils.training.architectures import fold_temperature
    from mnist_utils.training.fit import predict_probabilities, train

    folder = run.path
    trained = train(config, dataset, folder, progress=progress)
    mark_incomplete(folder, "training", "evaluation was not finished")
    start = time.perf_counter()
    validation = predict_probabilities(trained.model, dataset.x_validation)
    test = predict_probabilities(trained.model, dataset.x_test)  # the test set is opened here, once
    temperature = _temperature(config, dataset, trained.model, validation)
    fold_temperature(trained.model, temperature)
    with interrupts.defer_interrupt():  # in the middle of it, Ctrl-C would come out as some error of TensorFlow's
        files.write_atomic(folder / "model.keras", trained.model.save)
        files.write_atomic(folder / "model.tflite", lambda path: trained.model.export(path, format="litert", verbose=False))
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
        validation=compute_metrics(validation, dataset.y_validation),
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
