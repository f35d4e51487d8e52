"""The combinations of values that a sweep trains."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mnist_utils import ConfigError
from mnist_utils.data.datasets import load_dataset
from mnist_utils.experiments import results
from mnist_utils.training.config import TrainConfig, make_config

_MAX_TRIALS = 100_000  # points


def _is_integer(annotation: Any) -> bool:
    """Say whether a field's type is a whole number, however deep: ``Annotated[int, ...] | None``."""
    return annotation is int or any(_is_integer(inner) for inner in get_args(annotation))


_INTEGER_FIELDS = {name for name, field in TrainConfig.model_fields.items() if _is_integer(field.annotation)}


@dataclass(frozen=True)
class ValueRange:
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
class Trial:
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


def parse_values(value: Any) -> list[Any] | ValueRange:
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
                return ValueRange(low, high, bool(found[1]))
        raise ConfigError(f"given {text}; allowed: low..high, or log:low..high with both above 0, low below high")
    if found := re.fullmatch(r"(-?\d+):(-?\d+)(?::(\d+))?", text):
        step = int(found[3] or 1)
        n = -((int(found[1]) - int(found[2])) // step) if step else 0  # of Python's range, which may be too long to ask
        if not 0 < n <= _MAX_TRIALS:
            raise ConfigError(
                f"given {text}: that is {max(n, 0):,} values; allowed: 1 to {_MAX_TRIALS:,} (0:5 is 0, 1, 2, 3, 4)"
            )
        return [str(one) for one in range(int(found[1]), int(found[2]), step)]
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def combine_values(given: Mapping[str, Any], *, random: int | None = None) -> list[dict[str, Any]]:
    """Combine the values of all parameters.

    Parameters
    ----------
    given : mapping
        From a field of `TrainConfig` to its values, see `parse_values`.
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
    axes: dict[str, list[Any] | ValueRange] = {}
    for name, value in given.items():
        try:
            axis = parse_values(value)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from None
        if isinstance(axis, ValueRange) and name in _INTEGER_FIELDS:
            if math.ceil(axis.low) > math.floor(axis.high):
                raise ConfigError(f"{name}: given {value}, with no whole number in it; allowed: whole numbers, as in 1..5")
            axis = replace(axis, whole=True)
        axes[name] = axis
    seeds = axes.pop("seed", None)
    if isinstance(seeds, ValueRange):
        raise ConfigError(f"seed: given {given['seed']}; allowed: a list (0,1,2) or a range (0:3)")
    intervals = [name for name, axis in axes.items() if isinstance(axis, ValueRange)]
    if intervals and random is None:
        raise ConfigError(
            f"{intervals[0]}: given {given[intervals[0]]}, of which there is no end; say how many (--random N)"
        )
    total = math.prod(len(axis) for axis in axes.values() if not isinstance(axis, ValueRange)) * len(seeds or [0])
    if random is not None and random < 1:
        raise ConfigError(f"random: given {random}; allowed: from 1")
    if random and random * len(seeds or [0]) > _MAX_TRIALS:
        raise ConfigError(f"{random * len(seeds or [0]):,} points; allowed: up to {_MAX_TRIALS:,}")
    if random is None or (not intervals and random * len(seeds or [0]) >= total):
        if total > _MAX_TRIALS:
            raise ConfigError(f"{total:,} points; allowed: up to {_MAX_TRIALS:,}. Draw some of them (--random N)")
        chosen = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]  # type: ignore[arg-type]
    else:
        chosen = _sample_settings(axes, random)
    return [one | ({"seed": seed} if seeds else {}) for one in chosen for seed in seeds or [None]]


def _sample_settings(axes: dict[str, list[Any] | ValueRange], n: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    chosen: dict[str, dict[str, Any]] = {}
    for _ in range(1000 + 100 * n):
        one = {
            name: axis.draw(random) if isinstance(axis, ValueRange) else axis[random.integers(len(axis))]
            for name, axis in axes.items()
        }
        chosen.setdefault(repr(one), one)
        if len(chosen) == n:
            return list(chosen.values())
    raise ConfigError(f"random: given {n}; the values that were given make no more than about {len(chosen)} settings")


def make_trials(
    given: Mapping[str, Any], *, random: int | None = None, data_dir: str | Path | None = None
) -> tuple[list[Trial], str]:
    """Make the points of a sweep; all are checked before the first begins.

    Parameters
    ----------
    given, random
        See `combine_values`.
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
    for one in combine_values(given, random=random):
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
        point = _make_trial(make_config(**one | {"dataset": dataset_name}), sha256)
        made[point.key] = point
    return list(made.values()), "; ".join(note for note in notes if note)


def _make_trial(config: TrainConfig, sha256: str) -> Trial:
    text = json.dumps(config.model_dump() | {"sha256": sha256}, sort_keys=True)
    return Trial(hashlib.sha256(text.encode()).hexdigest()[:12], config, sha256)


def varied_parameters(points: list[Trial]) -> list[str]:
    """Name what the points vary in, see `experiments.results.varied_fields`."""
    return results.varied_fields([point.config.model_dump() for point in points])


def describe_trial(point: Trial, names: list[str]) -> str:
    """Write a point of a sweep that varies `names` as ``batch_size 64, seed 3``."""
    return results.describe_setting({name: getattr(point.config, name) for name in (*names, results.SEED)})


def sweep_name(points: list[Trial]) -> str:
    """Name a sweep after what it varies and all its points, so that the same command finds it again."""
    digest = hashlib.sha256(" ".join(sorted(point.key for point in points)).encode()).hexdigest()[:8]
    return "-".join([*varied_parameters(points), digest])[-100:].lstrip("-_.")
