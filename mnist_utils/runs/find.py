"""Runs in the folder of all results: found, read and listed; and the model to predict with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mnist_utils.evaluation.metrics import metrics_from_dict
from mnist_utils.runs.model_files import MODEL_SUFFIXES, refuse_models
from mnist_utils.runs.run import INCOMPLETE, NOTEBOOKS, REFERENCE, Run, RunError, RunMetrics


def results_dir(given: str | Path | None = None) -> Path:
    """Return the folder of all runs: `given`, else ``MNIST_RESULTS``, else the clone's ``results/``, else ``./results``."""
    if given or os.environ.get("MNIST_RESULTS"):
        return Path(given or os.environ["MNIST_RESULTS"])
    return (_clone() if (_clone() / "pyproject.toml").is_file() else Path.cwd()) / "results"


def _clone() -> Path:
    return Path(__file__).parents[2]


def read_run(run: str | Path, results: Path) -> Run:
    """Read a run by its name in `results`, or by the path of its folder.

    Raises
    ------
    RunError
        If there is none; the message names those that exist.
    ConfigError
        If a model's file was given.
    """
    folder = next((path for path in (results / run, Path(run)) if _is_run(path)), None)
    if folder is None:
        refuse_models(run)
        names = sorted(path.name for path in results.glob("*") if _is_run(path))
        raise RunError(f"no run {str(run)!r} in {results}; there are: {', '.join(names) or 'none yet (mnist train)'}")
    marks = read_marks(folder)
    incomplete = "; ".join(marks.values())
    if not (folder / "config.json").is_file():
        return Run(folder, {}, None, incomplete)
    facts = _read_json(folder / "config.json", "config", "dataset")
    return Run(folder, facts, None if "training" in marks else _read_metrics(folder), incomplete)


def read_marks(folder: Path) -> dict[str, str]:
    """Say which parts of a run are incomplete, and why.

    The file ``incomplete`` has a line for each: ``training: stopped by Ctrl-C``.
    """
    marks: dict[str, str] = {}
    for line in _lines(folder / INCOMPLETE):
        part, _, why = line.partition(": ")
        # Earlier versions wrote the reason only, and had another file for the notebooks.
        marks |= {part: why} if part in ("training", "notebooks") else {"training": line}
    for line in _lines(folder / NOTEBOOKS / INCOMPLETE):
        marks["notebooks"] = line
    return marks


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines() or ["it does not say why"]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_run(folder: Path) -> bool:
    """Say whether a training, or notebooks that did not come to their training, began in `folder`."""
    return any((folder / name).is_file() for name in ("config.json", INCOMPLETE, f"{NOTEBOOKS}/{INCOMPLETE}"))


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
        problem = f" lacks {missing[0]}" if missing else ""
    except (OSError, ValueError) as error:
        problem = f": {error}"
    if problem:
        raise RunError(f"run {path.parent.name} is damaged: {path}{problem}. Delete its folder, or restore the file")
    return content


def _read_metrics(folder: Path) -> RunMetrics:
    path = folder / "metrics.json"
    content = _read_json(path, "validation", "test", "seconds")
    try:
        interval = content.get("temperature_interval")
        validation = metrics_from_dict(content["validation"]) if content["validation"] else None
        return RunMetrics(
            validation,
            metrics_from_dict(content["test"]),
            seconds=content["seconds"],
            temperature=float(content.get("temperature", 1.0)),
            temperature_interval=(float(interval[0]), float(interval[1])) if interval else None,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise RunError(f"run {folder.name} is damaged: {path}: {error}. Delete its folder, or restore the file") from None


def is_trained(folder: Path) -> bool:
    """Say whether `folder` holds a model that was trained and tested to the end."""
    return (folder / "config.json").is_file() and "training" not in read_marks(folder)


def list_runs(results: Path) -> list[Run]:
    """Read every run in `results`: data set by data set (MNIST first) with the best validation accuracy first.

    Incomplete and damaged runs come last; a damaged one says so in `Run.incomplete`.
    """
    found = []
    for path in sorted(path for path in results.glob("*") if _is_run(path)):
        try:
            found.append(read_run(path, results))
        except RunError as error:
            found.append(Run(path, {}, None, str(error)))

    def order(run: Run) -> tuple[bool, bool, str, float]:
        accuracy = run.metrics.validation.accuracy if run.metrics and run.metrics.validation else 0.0
        return bool(run.incomplete), run.dataset_name != "mnist", run.dataset_name, -accuracy

    return sorted(found, key=order)


def find_model(model: str | None, results: Path) -> Path:
    """Find the model to predict with.

    Parameters
    ----------
    model : str, optional
        A run's name, a run's folder, or a ``.tflite`` or ``.keras`` file. Default: the run ``reference`` in `results`, else
        the one that the clone brings along.

    Raises
    ------
    RunError
        If there is none.
    ConfigError
        If it is a model in a form that is not read.
    """
    if model and model.endswith(MODEL_SUFFIXES):
        return Path(model)
    if model is None:
        folder = next((root / REFERENCE for root in (results, _clone() / "results") if is_trained(root / REFERENCE)), None)
        if folder is None:
            raise RunError(f"there is no reference run in {results}; name another with --model (mnist runs lists them)")
        return folder / "model.tflite"
    run = read_run(model, results)
    if not run.metrics:
        raise RunError(f"run {run.name} is incomplete ({run.incomplete}); finish it with the command that started it")
    return run.path / "model.tflite"


def select_run(name: str, results: Path) -> Run:
    """Find the run to look at: the one of that name; for an empty name the newest complete one, else the reference.

    Raises
    ------
    RunError
        If there is none, or it is incomplete.
    """
    if not name:
        complete = [run for run in list_runs(results) if not run.incomplete and run.name != REFERENCE]
        name = max(complete, key=lambda run: run.started).name if complete else REFERENCE
    folder = find_model(None if name == REFERENCE else name, results).parent
    return read_run(folder, folder.parent)


def run_of_model(model: Path) -> Run | None:
    """Return the run that a model's file belongs to, if it lies in the folder of one that can be read."""
    try:
        return read_run(model.parent, model.parent.parent)
    except RunError:
        return None
