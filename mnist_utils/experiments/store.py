"""What a sweep is: its points, which of them are done, and the folder that holds their runs."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils import MnistError
from mnist_utils._support import files
from mnist_utils.experiments.grid import Trial, varied_parameters
from mnist_utils.runs import record
from mnist_utils.runs.run import NOTEBOOKS, Run, RunError, list_runs, read_run

if TYPE_CHECKING:
    import pandas as pd


SWEEPS = "sweeps"  # in the folder of all runs
TRIALS = "points"  # in a sweep's folder: its runs
_DEFINITION = "sweep.json"  # in a sweep's folder: what was asked for


class SweepError(MnistError):
    """A sweep that cannot begin or go on."""


# --- the folder -------------------------------------------------------------------------------------------


def pack(folder: Path) -> bytes:
    """Put a run's folder into a tar archive, to be sent to another machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in (".lock", "checkpoint.npz"):
                archive.add(path, path.relative_to(folder), recursive=False)
    return buffer.getvalue()


def _is_readable(folder: Path, key: str) -> bool:
    try:
        read_run(key, folder / TRIALS)
    except RunError:
        return False
    return True


def store_trial(folder: Path, key: str, packed: bytes, error: str) -> None:
    """Put a point's run, whole or as far as it came, at its place in the sweep's folder in one step.

    Parameters
    ----------
    folder : Path
        The sweep's.
    key : str
        The point's.
    packed : bytes
        From `pack`; empty where nothing came back.
    error : str
        Why the run is not whole; empty where it is.

    Raises
    ------
    OSError
        If it cannot be written; what was there is untouched.
    """
    place = folder / TRIALS / key
    if not packed and _is_readable(folder, key):  # the try before tells more: it has a notebook
        (place / NOTEBOOKS).mkdir(exist_ok=True)
        record.mark_incomplete(place / NOTEBOOKS, error)
        return
    beside = place.with_name(f".writing-{os.getpid()}-{key}")
    try:
        beside.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) if packed else contextlib.nullcontext() as archive:
            if archive:
                archive.extractall(beside, filter="data")
        if error:
            (beside / NOTEBOOKS).mkdir(exist_ok=True)
            record.mark_incomplete(beside / NOTEBOOKS, error)
        for path in beside.rglob("*"):
            _flush(path)
        if place.exists():  # an earlier try; a kill between these two lines loses no more than that
            shutil.rmtree(place)
        beside.rename(place)
        _flush(place.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read_trials(folder: Path, points: Iterable[Trial]) -> dict[str, Run]:
    """Read the runs of those points that were tried, whole or not, by the point's key."""
    found = {}
    for point in points:
        if not (folder / TRIALS / point.key).is_dir():
            continue
        with contextlib.suppress(RunError):  # damaged, which is as good as not tried
            found[point.key] = read_run(point.key, folder / TRIALS)
    return found


def is_trained(run: Run | None) -> bool:
    """Say whether a point's run came to its end."""
    return run is not None and not run.incomplete and bool(run.metrics)


def trained_runs(found: Mapping[str, Run]) -> list[Run]:
    """List those of `read_trials` that came to their end."""
    return [run for run in found.values() if is_trained(run)]


def select_runs(which: str, results: Path) -> list[Run]:
    """Read the runs to compare: those that were trained and tested.

    Parameters
    ----------
    which : str
        A sweep's name, or runs' names, with commas between; a run's may be a pattern (``2026*``). Empty: the newest sweep;
        where there is none, all runs in `results` on one data set, MNIST if there is one.
    results : Path
        Folder of all runs.

    Raises
    ------
    RunError
        If a name matches nothing.
    """
    sweeps = sorted((results / SWEEPS).glob(f"*/{_DEFINITION}"), key=lambda path: path.stat().st_mtime)
    for definition in sweeps[::-1] if not which else ():
        if done := _of_sweep(definition):
            return done
    if not which:
        trained = [run for run in list_runs(results) if run.metrics]
        return [run for run in trained if run.config["dataset"]["name"] == trained[0].config["dataset"]["name"]]
    found: dict[Path, Run] = {}
    for name in (part.strip() for part in which.split(",")):
        definition = results / SWEEPS / (name or "-") / _DEFINITION
        several = _of_sweep(definition) if definition.is_file() else []
        several = several or [run for run in list_runs(results) if fnmatch.fnmatchcase(run.name, name)]
        if not several:
            raise RunError(f"no run or sweep {name!r} in {results}; mnist runs lists the runs")
        found |= {run.path: run for run in several if run.metrics}
    return list(found.values())


def _of_sweep(definition: Path) -> list[Run]:
    """Read the runs of a sweep's points that are done; its folder may hold those of other commands of the same name."""
    try:
        keys = set(json.loads(definition.read_text(encoding="utf-8"))["points"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{definition} is damaged ({error!r}); give the command of the sweep again") from None
    return [run for run in list_runs(definition.parent / TRIALS) if run.name in keys and is_trained(run)]


def write_table(folder: Path, points: list[Trial], found: Mapping[str, Run]) -> pd.DataFrame:
    """Write ``table.csv``: a row for each point, in the order of the sweep, done or not; return it.

    Parameters
    ----------
    folder : Path
        The sweep's.
    points : list of Point
    found : mapping
        From `read_trials`.

    Returns
    -------
    DataFrame
        Index: the points' keys; columns: the parameters that vary, seed, state (done, failed or not tried), validation, low,
        high, seconds (see `experiments.results.trials_table`; NaN where not done), error, commit, cpu. No test
        result: one may not choose by it.
    """
    import pandas as pd

    names, rows = varied_parameters(points), []
    for point in points:
        run = found.get(point.key)
        row: dict[str, Any] = {"key": point.key} | {name: getattr(point.config, name) for name in (*names, "seed")}
        row["state"] = "done" if is_trained(run) else "failed" if run else "not tried"
        numbers = run.metrics["validation"] if run and is_trained(run) else None
        row["validation"] = numbers and numbers["accuracy"]
        row["low"], row["high"] = numbers["accuracy_interval"] if numbers else (None, None)
        row["seconds"] = run.metrics["seconds"]["training"] if run and numbers else None
        row["error"] = run.incomplete if run else ""
        row["commit"] = (run.config.get("git_commit") or "") if run else ""
        row["cpu"] = run.config.get("cpu", {}).get("name", "") if run else ""
        rows.append(row)
    table = pd.DataFrame(rows).set_index("key")
    files.write_atomic(folder / "table.csv", lambda path: table.to_csv(path))
    return table


def new_sweep_folder(name: str, results: Path) -> Path:
    """Make the folder of the sweep `name`, if it is not there yet; see `runs.record.new_run_folder`."""
    return record.new_run_folder(name, results / SWEEPS, option="name")


def write_definition(folder: Path, given: Mapping[str, Any], random: int | None, points: list[Trial]) -> None:
    """Remove what a killed client left half-written, and write ``sweep.json``: what was asked for, and its points."""
    for leftover in (folder / TRIALS).glob(".writing-*"):
        shutil.rmtree(leftover)
    content = {"parameters": dict(given), "random": random, "points": [point.key for point in points]}
    files.write_text_atomic(folder / _DEFINITION, json.dumps(content, indent=2, default=str))


def pending_trials(folder: Path, points: list[Trial]) -> list[Trial]:
    """List the points that are not done: not tried, or not to the end."""
    found = read_trials(folder, points)
    return [point for point in points if not is_trained(found.get(point.key))]
