"""A run, recorded: trained, evaluated, drawn, written whole or marked incomplete."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support import files, interrupts
from mnist_utils.runs.environment import cpu_name, git_commit, package_versions
from mnist_utils.runs.run import INCOMPLETE, Run, RunError, read_json, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.config import TrainConfig


def new_run_name(config: TrainConfig, results: Path) -> str:
    """Make a folder for a run in `results`, named by date and network, and return its name."""
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


def record_run(config: TrainConfig, dataset: Dataset, name: str, results: Path, *, progress: bool = True) -> Run:
    """Train a network, test it once, and write everything about it into ``results/name``.

    A run of that name that was begun with the same configuration and data is finished; one that is whole is
    returned as it is. Until the last file is written the folder is marked incomplete.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, the run was begun with something else, or another process works on it.
    OSError
        If it cannot be written: what was written stays, and the same call goes on from there.
    """
    folder = new_run_folder(name, results)
    with run_lock(folder, name):
        return _record_locked(config, dataset, folder, progress)


@contextlib.contextmanager
def run_lock(folder: Path, name: str, *, kind: str = "run", option: str = "run") -> Iterator[None]:
    """Keep other processes out of a folder of the run `name`, or of another `kind`; the name was given as `option`.

    Raises
    ------
    RunError
        If another one is in it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = f"another process is working on {kind} {name}"
        raise RunError(f"{who}; wait for it, or choose another name (--{option})") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink()  # nobody waits for it, so nobody can hold on to the removed file
        lock.release()


def _record_locked(config: TrainConfig, dataset: Dataset, folder: Path, progress: bool) -> Run:
    for leftover in folder.rglob(".writing-*"):  # of a process that was killed: nobody else works here now
        leftover.unlink()
    begun = _open_folder(config, dataset, folder)
    if begun.metrics:
        return begun
    # What `auto` stood for when the run began: another machine might choose otherwise.
    config = config.model_copy(update={"precision": begun.config["cpu"]["precision"]})
    try:
        mark_incomplete(folder, "training was not finished")
        _train_and_write(config, dataset, folder, progress)
    except KeyboardInterrupt:
        mark_incomplete(folder, "stopped by Ctrl-C")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk: the earlier mark still stands
            mark_incomplete(folder, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    (folder / INCOMPLETE).unlink()
    return read_run(folder, folder.parent)


def check_same_config(run: Run, wanted: dict[str, Any]) -> None:
    """Refuse to go on with a run that was begun with something else.

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
    had = run.config["config"] | {"sha256": run.config["dataset"]["sha256"]}
    differing = [f"{name} {had.get(name)}, now {value}" for name, value in wanted.items() if had.get(name) != value]
    if differing:
        raise RunError(
            f"run {run.name} was begun with {'; '.join(differing)}. Choose another name (--run), or delete {run.path}"
        )


def _open_folder(config: TrainConfig, dataset: Dataset, folder: Path) -> Run:
    """Open a run's folder, new or begun; refuse one that was begun with something else."""
    from mnist_utils.training.config import choose_precision

    wanted = config.model_dump() | {"sha256": dataset.sha256}
    if (folder / "config.json").exists():
        check_same_config(run := read_run(folder, folder.parent), wanted)
        return run
    mark_incomplete(folder, "training was not finished")  # before config.json makes the folder a run
    content = {
        "config": config.model_dump(),
        # Not where the files lay: that is a path of one person's machine, and the hash says more.
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "note": dataset.note},
        "versions": package_versions(),
        "git_commit": git_commit(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "precision": choose_precision(config.precision)},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    files.write_text_atomic(folder / "config.json", json.dumps(content, indent=2))
    return read_run(folder, folder.parent)


def _train_and_write(config: TrainConfig, dataset: Dataset, folder: Path, progress: bool) -> None:
    # TensorFlow and matplotlib: whoever lists or compares runs does without.
    import pandas as pd

    from mnist_utils.evaluation import calibration
    from mnist_utils.evaluation.metrics import compute_metrics
    from mnist_utils.training import fit

    trained = fit.train(config, dataset, folder, progress=progress)
    mark_incomplete(folder, "evaluation was not finished")
    start = time.perf_counter()
    with interrupts.defer_interrupt():  # in the middle of it, Ctrl-C would come out as some error of TensorFlow's
        files.write_atomic(folder / "model.keras", trained.model.save)
        files.write_atomic(folder / "model.tflite", lambda path: trained.model.export(path, format="litert", verbose=False))
    probabilities = fit.predict_probabilities(trained.model, dataset.x_validation)
    validation = compute_metrics(probabilities, dataset.y_validation)
    temperature = calibration.fit_temperature(probabilities, dataset.y_validation)
    probabilities = fit.predict_probabilities(trained.model, dataset.x_test)  # the test set is opened here, once
    test = compute_metrics(probabilities, dataset.y_test)
    files.write_atomic(
        folder / "predictions.npz",
        lambda path: np.savez_compressed(path, probabilities=probabilities, labels=dataset.y_test),
    )
    history = pd.DataFrame(trained.history)
    files.write_atomic(folder / "history.csv", lambda path: history.to_csv(path, index=False))
    seconds = {"training": round(float(history["seconds"].sum()), 2), "evaluation": round(time.perf_counter() - start, 2)}
    metrics = {"validation": asdict(validation), "test": asdict(test), "temperature": temperature, "seconds": seconds}
    files.write_text_atomic(folder / "metrics.json", json.dumps(metrics, indent=2))
    for name, figure in draw_figures(read_run(folder, folder.parent)).items():
        (folder / "figures").mkdir(exist_ok=True)
        files.write_atomic(folder / "figures" / f"{name}.png", lambda path, figure=figure: figure.savefig(path, dpi=120))  # type: ignore[misc]


def draw_figures(run: Run, *, new_figure: Callable[[], Figure] | None = None) -> dict[str, Figure]:
    """Draw a run's figures from its files.

    Parameters
    ----------
    run : Run
        With ``history.csv`` and ``metrics.json``.
    new_figure : callable, optional
        Makes an empty figure; ``plt.figure`` for a window. Default: one that is only ever saved.

    Returns
    -------
    dict
        From a name, which is the PNG's in ``figures/``, to a figure.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    from mnist_utils import plots

    new_figure = new_figure or Figure
    config, dataset = run.config["config"], run.config["dataset"]["name"]
    metrics = run.metrics or read_json(run.path / "metrics.json", "validation", "test")  # a run draws before it is whole
    test, validation = metrics["test"], metrics["validation"]
    low, high = test["accuracy_interval"]
    what = f"{config['model']} on {dataset}, seed {config['seed']}"
    return {
        "training_curves": plots.training_curves(
            pd.read_csv(run.path / "history.csv"),
            title=f"{what}: {validation['accuracy']:.2%} of {validation['n']:,} validation images right",
            figure=new_figure(),
        ),
        "confusion_matrix": plots.confusion_matrices(
            test["confusion_matrix"],
            title=f"{what}: {test['accuracy']:.2%} of {test['n']:,} test images right (95 %: {low:.2%} to {high:.2%})",
            figure=new_figure(),
        ),
    }


def mark_incomplete(folder: Path, why: str) -> None:
    """Mark a run's folder, or the folder of its notebooks, as not whole."""
    files.write_text_atomic(folder / INCOMPLETE, why + "\n")
