"""A sweep's folder: its definition, the runs of its trials, and the table of them."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils import MnistError
from mnist_utils._support import files
from mnist_utils.experiments.grid import Trial, varied_parameters
from mnist_utils.runs.find import list_runs, read_run
from mnist_utils.runs.folder import mark_incomplete, new_run_folder
from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    import pandas as pd


SWEEPS = "sweeps"  # in the folder of all runs
_DEFINITION = "sweep.json"  # in a sweep's folder: what was asked for


class SweepError(MnistError):
    """A sweep that cannot start or resume."""


def trials_folder(folder: Path) -> Path:
    """Return the folder in a sweep's folder that holds its runs; earlier versions called it ``points``."""
    return folder / "points" if (folder / "points").is_dir() else folder / "trials"


@contextlib.contextmanager
def shared_token(folder: Path) -> Iterator[str]:
    """Put a file into a sweep's folder until the end of the block: whoever sees it there sees this very folder."""
    for leftover in folder.glob(".client-*"):  # of a client that was killed: nobody else uses this folder now
        leftover.unlink()
    token = f".client-{uuid.uuid4().hex[:12]}"
    (folder / token).touch()
    try:
        yield token
    finally:
        (folder / token).unlink(missing_ok=True)


def pack_run(folder: Path) -> bytes:
    """Put a run's folder into a tar archive, to be sent to another machine."""
    with tempfile.TemporaryDirectory() as temporary:
        return Path(shutil.make_archive(str(Path(temporary, "run")), "tar", folder)).read_bytes()


def store_trial(folder: Path, key: str, packed: bytes) -> Run:
    """Put a trial's run at its place in the sweep's folder in one step, unless it lies there already; read it.

    Parameters
    ----------
    folder : Path
        The sweep's.
    key : str
        The trial's.
    packed : bytes
        From `pack_run`; empty where the worker wrote into this folder.

    Raises
    ------
    OSError
        If it cannot be written; what was there is untouched.
    """
    place = trials_folder(folder) / key
    if packed:
        temporary = place.with_name(f".writing-{os.getpid()}-{key}")
        try:
            temporary.mkdir(parents=True)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(temporary, filter="data")
            for path in temporary.rglob("*"):
                _flush(path)
            if place.exists():  # an earlier try; a kill between these two lines loses no more than that
                shutil.rmtree(place)
            temporary.rename(place)
            _flush(place.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return read_run(key, trials_folder(folder))


def store_failure(folder: Path, key: str, why: str) -> str:
    """Say in a trial's folder why its training failed, and return it."""
    place = trials_folder(folder) / key
    place.mkdir(parents=True, exist_ok=True)
    mark_incomplete(place, "training", why)
    return why


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def read_trials(folder: Path, trials: Iterable[Trial]) -> dict[str, Run]:
    """Read the runs of those trials that were started, complete or not, by the trial's key."""
    found = {}
    for trial in trials:
        if not (trials_folder(folder) / trial.key).is_dir():
            continue
        with contextlib.suppress(RunError):  # damaged, which is as good as not started
            found[trial.key] = read_run(trial.key, trials_folder(folder))
    return found


def is_trained(run: Run | None) -> bool:
    """Say whether a trial's run came to its end."""
    return run is not None and not run.incomplete and run.metrics is not None


def trained_runs(found: Mapping[str, Run]) -> list[Run]:
    """List those of `read_trials` that came to their end."""
    return [run for run in found.values() if is_trained(run)]


def select_runs(which: str, results: Path) -> list[Run]:
    """Read the runs to compare: those that were trained and tested.

    Parameters
    ----------
    which : str
        A sweep's name, or runs' names, with commas between; a run's may be a pattern (``2026*``). Empty: the newest sweep;
        where there is none, all runs in `results` on one data set, MNIST if there is one, without imported models.
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
        trained = [run for run in list_runs(results) if run.metrics and run.metrics.validation and not run.imported]
        return [run for run in trained if run.dataset_name == trained[0].dataset_name]
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
    """Read the runs of a sweep's trials that are done; its folder may hold those of other commands of the same name."""
    try:
        content = json.loads(definition.read_text(encoding="utf-8"))
        keys = set(content["points"] if "points" in content else content["trials"])  # points: of an earlier version
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{definition} is damaged ({error!r}); give the command of the sweep again") from None
    return [run for run in list_runs(trials_folder(definition.parent)) if run.name in keys and is_trained(run)]


def write_table(folder: Path, trials: list[Trial], found: Mapping[str, Run]) -> pd.DataFrame:
    """Write ``table.csv``: a row for each trial, in the order of the sweep, done or not; return it.

    Parameters
    ----------
    folder : Path
        The sweep's.
    trials : list of Trial
    found : mapping
        From `read_trials`.

    Returns
    -------
    DataFrame
        Index: the trials' keys; columns: the parameters that vary, seed, state (done, failed or not started), validation,
        low, high, seconds (see `experiments.results.trials_table`; NaN where not done), error, commit, cpu. No test
        result: one may not choose by it.
    """
    import pandas as pd

    names, rows = varied_parameters(trials), []
    for trial in trials:
        run = found.get(trial.key)
        row: dict[str, Any] = {"key": trial.key} | {name: getattr(trial.config, name) for name in (*names, "seed")}
        row["state"] = "done" if is_trained(run) else "failed" if run else "not started"
        metrics = run.metrics if run and is_trained(run) else None
        row["validation"] = metrics and metrics.validated().accuracy
        row["low"], row["high"] = metrics.validated().accuracy_interval if metrics else (None, None)
        row["seconds"] = metrics and metrics.seconds["training"]
        row["error"] = run.incomplete if run else ""
        row["commit"] = (run.facts.get("git_commit") or "") if run else ""
        row["cpu"] = run.facts.get("cpu", {}).get("name", "") if run else ""
        rows.append(row)
    table = pd.DataFrame(rows).set_index("key")
    files.write_atomic(folder / "table.csv", lambda path: table.to_csv(path))
    return table


def new_sweep_folder(name: str, results: Path) -> Path:
    """Make the folder of the sweep `name`, if it is not there yet; see `runs.folder.new_run_folder`."""
    return new_run_folder(name, results / SWEEPS, option="name")


def write_definition(folder: Path, given: Mapping[str, Any], random: int | None, trials: list[Trial]) -> None:
    """Remove temporary files of a killed client, and write ``sweep.json``: its parameters and its trials."""
    for leftover in (trials_folder(folder)).glob(".writing-*"):
        shutil.rmtree(leftover)
    content = {"parameters": dict(given), "random": random, "trials": [trial.key for trial in trials]}
    files.write_text_atomic(folder / _DEFINITION, json.dumps(content, indent=2, default=str))


def pending_trials(folder: Path, trials: list[Trial]) -> list[Trial]:
    """List the trials that are not done: not started, or incomplete."""
    found = read_trials(folder, trials)
    return [trial for trial in trials if not is_trained(found.get(trial.key))]
