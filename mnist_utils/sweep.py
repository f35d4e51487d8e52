"""What a sweep is: its points, which of them are done, and the folder that holds their runs."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mnist_utils import ConfigError, MnistError, atomic, comparison, runs
from mnist_utils.config import TrainConfig, make_config
from mnist_utils.data import load_dataset
from mnist_utils.runs import Run, RunError

if TYPE_CHECKING:
    import pandas as pd

SWEEPS = "sweeps"  # in the folder of all runs
POINTS = "points"  # in a sweep's folder: its runs
_DEFINITION = "sweep.json"  # in a sweep's folder: what was asked for
_MOST = 100_000  # points


def _is_whole(annotation: Any) -> bool:
    """Say whether a field's type is a whole number, however deep: ``Annotated[int, ...] | None``."""
    return annotation is int or any(_is_whole(inner) for inner in get_args(annotation))


_WHOLE = {name for name, field in TrainConfig.model_fields.items() if _is_whole(field.annotation)}


class SweepError(MnistError):
    """A sweep that cannot begin or go on."""


@dataclass(frozen=True)
class Interval:
    """Values to draw at random: from `low` to `high`, evenly, or evenly in their logarithm; whole ones if need be."""

    low: float
    high: float
    log: bool
    whole: bool = False

    def draw(self, random: np.random.Generator) -> float:
        """Draw a value, to four digits."""
        low, high = (math.ceil(self.low), math.floor(self.high)) if self.whole else (self.low, self.high)
        edge = 0.5 if self.whole else 0  # else the first and the last whole number were drawn half as often
        ends = low - edge, high + edge
        value = math.exp(random.uniform(math.log(ends[0]), math.log(ends[1]))) if self.log else random.uniform(*ends)
        return min(max(round(value) if self.whole else float(f"{value:.4g}"), low), high)


@dataclass(frozen=True)
class Point:
    """One training of a sweep.

    Attributes
    ----------
    key : str
        Twelve hexadecimal digits of the SHA-256 of its configuration: what was done under another name is known again.
    config : TrainConfig
    sha256 : str
        Of the data set, see `Dataset`.
    """

    key: str
    config: TrainConfig
    sha256: str


# --- points -----------------------------------------------------------------------------------------------


def parse(value: Any) -> list[Any] | Interval:
    """Read the values of a parameter, as a command line or a YAML file gives them.

    Parameters
    ----------
    value : list, number or str
        ``"0,0.25,0.5"`` is three values, ``"0:5"`` is 0 to 4, ``"0:10:2"`` every other; ``"0.1..0.5"`` is any value between,
        ``"log:0.001..0.1"`` any between, evenly in the logarithm.

    Raises
    ------
    ConfigError
        Says what is allowed.
    """
    if isinstance(value, list):
        if not value:
            raise ConfigError("given an empty list; allowed: at least one value")
        return list(dict.fromkeys(str(one) for one in value))
    text = str(value).strip()
    if found := re.fullmatch(r"(log:)?(.+?)\.\.(.+)", text):
        with contextlib.suppress(ValueError):
            low, high = float(found[2]), float(found[3])
            if low < high and math.isfinite(high - low) and (low > 0 or not found[1]):
                return Interval(low, high, bool(found[1]))
        raise ConfigError(f"given {text}; allowed: low..high, or log:low..high with both above 0, low below high")
    if found := re.fullmatch(r"(-?\d+):(-?\d+)(?::(\d+))?", text):
        step = int(found[3] or 1)
        n = -((int(found[1]) - int(found[2])) // step) if step else 0  # of Python's range, which may be too long to ask
        if not 0 < n <= _MOST:
            raise ConfigError(f"given {text}: that is {max(n, 0):,} values; allowed: 1 to {_MOST:,} (0:5 is 0, 1, 2, 3, 4)")
        return [str(one) for one in range(int(found[1]), int(found[2]), step)]
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def settings(given: Mapping[str, Any], *, random: int | None = None) -> list[dict[str, Any]]:
    """Combine the values of all parameters.

    Parameters
    ----------
    given : mapping
        From a field of `TrainConfig` to its values, see `parse`.
    random : int, optional
        Draw so many combinations of all parameters but ``seed``, each of which is then combined with every seed (Bergstra
        and Bengio 2012). The same parameters give the same draw. Default: all combinations.

    Raises
    ------
    ConfigError
        Names the parameter, what was given and what is allowed.

    References
    ----------
    Bergstra and Bengio (2012), Random search for hyper-parameter optimization. JMLR 13.
    """
    axes: dict[str, list[Any] | Interval] = {}
    for name, value in given.items():
        try:
            axis = parse(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        if isinstance(axis, Interval) and name in _WHOLE:
            if math.ceil(axis.low) > math.floor(axis.high):
                raise ConfigError(f"{name}: given {value}, with no whole number in it; allowed: whole numbers, as in 1..5")
            axis = replace(axis, whole=True)
        axes[name] = axis
    seeds = axes.pop("seed", None)
    if isinstance(seeds, Interval):
        raise ConfigError(f"seed: given {given['seed']}; allowed: a list (0,1,2) or a range (0:3)")
    intervals = [name for name, axis in axes.items() if isinstance(axis, Interval)]
    if intervals and random is None:
        raise ConfigError(
            f"{intervals[0]}: given {given[intervals[0]]}, of which there is no end; say how many (--random N)"
        )
    total = math.prod(len(axis) for axis in axes.values() if not isinstance(axis, Interval)) * len(seeds or [0])
    if random is not None and random < 1:
        raise ConfigError(f"random: given {random}; allowed: from 1")
    if random and random * len(seeds or [0]) > _MOST:
        raise ConfigError(f"{random * len(seeds or [0]):,} points; allowed: up to {_MOST:,}")
    if random is None or (not intervals and random * len(seeds or [0]) >= total):
        if total > _MOST:
            raise ConfigError(f"{total:,} points; allowed: up to {_MOST:,}. Draw some of them (--random N)")
        chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]  # type: ignore[arg-type]
    else:
        chosen = _drawn(axes, random)
    return [one | ({"seed": seed} if seeds else {}) for one in chosen for seed in seeds or [None]]


def _drawn(axes: dict[str, list[Any] | Interval], n: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    chosen: dict[str, dict[str, Any]] = {}
    for _ in range(1000 + 100 * n):
        one = {
            name: axis.draw(random) if isinstance(axis, Interval) else axis[random.integers(len(axis))]
            for name, axis in axes.items()
        }
        chosen.setdefault(repr(one), one)
        if len(chosen) == n:
            return list(chosen.values())
    raise ConfigError(f"random: given {n}; the values that were given make no more than about {len(chosen)} settings")


def points(
    given: Mapping[str, Any], *, random: int | None = None, data_dir: str | Path | None = None
) -> tuple[list[Point], str]:
    """Make the points of a sweep; all are checked before the first begins.

    Parameters
    ----------
    given, random
        See `settings`.
    data_dir : path, optional
        See `load_dataset`; the data set is looked for here, once, so that ``auto`` means the same for all points.

    Returns
    -------
    points : list of Point
        None twice.
    note : str
        About the data, see `Dataset.note`.

    Raises
    ------
    ConfigError
        Names each bad value once.
    DataError
        If the data set cannot be had.
    """
    problems: dict[str, None] = {}
    configs = []
    for one in settings(given, random=random):
        try:
            configs.append((one, make_config(**one)))
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise ConfigError("\n".join(problems))
    found: dict[str, tuple[str, str]] = {}
    notes: dict[str, None] = {}
    for name in dict.fromkeys(config.dataset for _, config in configs):
        dataset = load_dataset(name, data_dir=data_dir)
        found[name], notes[dataset.note] = (dataset.name, dataset.sha256), None
    for field, values in (
        ("dataset", {name for name, _ in found.values()}),
        ("validation_fraction", {f"{config.validation_fraction:g}" for _, config in configs}),
    ):
        if len(values) > 1:
            raise ConfigError(
                f"{field}: given {', '.join(sorted(values))}; allowed: one in a sweep, as accuracies on different images do "
                "not compare. Sweep each by itself"
            )
    limit = max((config.train_limit for _, config in configs if config.train_limit), default=None)
    if limit:  # it says if it has fewer
        load_dataset(
            dataset.name, data_dir=data_dir, validation_fraction=configs[0][1].validation_fraction, train_limit=limit
        )
    made = {}
    for one, config in configs:
        dataset_name, sha256 = found[config.dataset]
        point = _point(make_config(**one | {"dataset": dataset_name}), sha256)
        made[point.key] = point
    return list(made.values()), "; ".join(note for note in notes if note)


def _point(config: TrainConfig, sha256: str) -> Point:
    text = json.dumps(config.model_dump() | {"sha256": sha256}, sort_keys=True)
    return Point(hashlib.sha256(text.encode()).hexdigest()[:12], config, sha256)


def varied(points: list[Point]) -> list[str]:
    """Name what the points vary in, see `comparison.varied`."""
    return comparison.varied([point.config.model_dump() for point in points])


def words(point: Point, names: list[str]) -> str:
    """Write a point of a sweep that varies `names` as ``batch_size 64, seed 3``."""
    return comparison.words({name: getattr(point.config, name) for name in (*names, comparison.SEED)})


def name_of(points: list[Point]) -> str:
    """Name a sweep after what it varies and all its points, so that the same command finds it again."""
    digest = hashlib.sha256(" ".join(sorted(point.key for point in points)).encode()).hexdigest()[:8]
    return "-".join([*varied(points), digest])[-100:].lstrip("-_.")


# --- the folder -------------------------------------------------------------------------------------------


def pack(folder: Path) -> bytes:
    """Put a run's folder into a tar archive, to be sent to another machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in (".lock", "checkpoint.npz"):
                archive.add(path, path.relative_to(folder), recursive=False)
    return buffer.getvalue()


def _readable(folder: Path, key: str) -> bool:
    try:
        runs.read(key, folder / POINTS)
    except RunError:
        return False
    return True


def keep(folder: Path, key: str, packed: bytes, error: str) -> None:
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
    place = folder / POINTS / key
    if not packed and _readable(folder, key):  # the try before tells more: it has a notebook
        (place / runs.NOTEBOOKS).mkdir(exist_ok=True)
        runs.mark(place / runs.NOTEBOOKS, error)
        return
    beside = place.with_name(f".writing-{os.getpid()}-{key}")
    try:
        beside.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) if packed else contextlib.nullcontext() as archive:
            if archive:
                archive.extractall(beside, filter="data")
        if error:
            (beside / runs.NOTEBOOKS).mkdir(exist_ok=True)
            runs.mark(beside / runs.NOTEBOOKS, error)
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


def read(folder: Path, points: Iterable[Point]) -> dict[str, Run]:
    """Read the runs of those points that were tried, whole or not, by the point's key."""
    found = {}
    for point in points:
        if not (folder / POINTS / point.key).is_dir():
            continue
        with contextlib.suppress(RunError):  # damaged, which is as good as not tried
            found[point.key] = runs.read(point.key, folder / POINTS)
    return found


def is_done(run: Run | None) -> bool:
    """Say whether a point's run came to its end."""
    return run is not None and not run.incomplete and bool(run.metrics)


def whole(found: Mapping[str, Run]) -> list[Run]:
    """List those of `read` that came to their end."""
    return [run for run in found.values() if is_done(run)]


def select(which: str, results: Path) -> list[Run]:
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
        trained = [run for run in runs.list_runs(results) if run.metrics]
        return [run for run in trained if run.config["dataset"]["name"] == trained[0].config["dataset"]["name"]]
    found: dict[Path, Run] = {}
    for name in (part.strip() for part in which.split(",")):
        definition = results / SWEEPS / (name or "-") / _DEFINITION
        several = _of_sweep(definition) if definition.is_file() else []
        several = several or [run for run in runs.list_runs(results) if fnmatch.fnmatchcase(run.name, name)]
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
    return [run for run in runs.list_runs(definition.parent / POINTS) if run.name in keys and is_done(run)]


def write_table(folder: Path, points: list[Point], found: Mapping[str, Run]) -> pd.DataFrame:
    """Write ``table.csv``: a row for each point, in the order of the sweep, done or not; return it.

    Parameters
    ----------
    folder : Path
        The sweep's.
    points : list of Point
    found : mapping
        From `read`.

    Returns
    -------
    DataFrame
        Index: the points' keys; columns: the parameters that vary, seed, state (done, failed or not tried), validation, low,
        high, seconds (see `comparison.table`; NaN where not done), error, commit, cpu. No test
        result: one may not choose by it.
    """
    import pandas as pd

    names, rows = varied(points), []
    for point in points:
        run = found.get(point.key)
        row: dict[str, Any] = {"key": point.key} | {name: getattr(point.config, name) for name in (*names, "seed")}
        row["state"] = "done" if is_done(run) else "failed" if run else "not tried"
        numbers = run.metrics["validation"] if run and is_done(run) else None
        row["validation"] = numbers and numbers["accuracy"]
        row["low"], row["high"] = numbers["accuracy_interval"] if numbers else (None, None)
        row["seconds"] = run.metrics["seconds"]["training"] if run and numbers else None
        row["error"] = run.incomplete if run else ""
        row["commit"] = (run.config.get("git_commit") or "") if run else ""
        row["cpu"] = run.config.get("cpu", {}).get("name", "") if run else ""
        rows.append(row)
    table = pd.DataFrame(rows).set_index("key")
    atomic.write(folder / "table.csv", lambda path: table.to_csv(path))
    return table


def new_folder(name: str, results: Path) -> Path:
    """Make the folder of the sweep `name`, if it is not there yet; see `runs.new_folder`."""
    return runs.new_folder(name, results / SWEEPS, option="name")


def begin(folder: Path, given: Mapping[str, Any], random: int | None, points: list[Point]) -> None:
    """Remove what a killed client left half-written, and write ``sweep.json``: what was asked for, and its points."""
    for leftover in (folder / POINTS).glob(".writing-*"):
        shutil.rmtree(leftover)
    content = {"parameters": dict(given), "random": random, "points": [point.key for point in points]}
    atomic.write_text(folder / _DEFINITION, json.dumps(content, indent=2, default=str))


def left(folder: Path, points: list[Point]) -> list[Point]:
    """List the points that are not done: not tried, or not to the end."""
    found = read(folder, points)
    return [point for point in points if not is_done(found.get(point.key))]
