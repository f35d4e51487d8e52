"""The settings of a sweep: values and ranges as they are given, combined or sampled, each from every seed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.model_selection import ParameterGrid, ParameterSampler

from mnist_utils import ConfigError
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.experiments import results
from mnist_utils.runs.find import read_run, results_dir
from mnist_utils.runs.results import file_sha256
from mnist_utils.training.config import TrainConfig, make_config

_MAX_TRIALS = 100_000
# Fields that the first sweeps did not have: with their defaults, a trial keeps its key.
_LATER = "raw", "skip_unreadable", "optimizer", "momentum", "weight_decay", "from_run", "freeze"


def _is_integer(annotation: Any) -> bool:
    """Say whether a field's type is a whole number, however deep: ``Annotated[int, ...] | None``."""
    return annotation is int or any(_is_integer(inner) for inner in get_args(annotation))


_TEXT_FIELDS = {name for name, field in TrainConfig.model_fields.items() if field.annotation is str}  # paths have dots, too
_INTEGER_FIELDS = {name for name, field in TrainConfig.model_fields.items() if _is_integer(field.annotation)}


@dataclass(frozen=True)
class ValueRange:
    """A distribution: from `low` to `high`, uniform, or uniform in the logarithm; of whole numbers where `integer`."""

    low: float
    high: float
    log: bool
    integer: bool = False

    def rvs(self, random_state: np.random.RandomState) -> float:
        """Sample a value, to four digits; scikit-learn calls this."""
        edge = 0.5 if self.integer else 0  # else the first and the last whole number were sampled half as often
        low, high = self.low - edge, self.high + edge
        distribution = loguniform(low, high) if self.log else uniform(low, high - low)
        value = float(distribution.rvs(random_state=random_state))
        return min(max(round(value) if self.integer else float(f"{value:.4g}"), self.low), self.high)


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


def parse_values(name: str, value: Any) -> list[Any] | ValueRange:
    """Read the values of a parameter, as a command line or a YAML file gives them.

    Parameters
    ----------
    name : str
        The parameter.
    value : list, number or str
        ``"0,0.25,0.5"`` is three values, ``"0:5"`` is 0 to 4, ``"0:10:2"`` every other; ``"0.1..0.5"`` is any value between,
        ``"log:0.001..0.1"`` any between, uniform in the logarithm.

    Raises
    ------
    ConfigError
        Says what is allowed.
    """
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"{name}: given an empty list; allowed: at least one value")
        return list(dict.fromkeys(str(one) for one in value))
    text = str(value).strip()
    if name == "freeze":  # a list itself
        return [text]
    if name in _TEXT_FIELDS:
        return list(dict.fromkeys(part.strip() for part in text.split(",")))
    if found := re.fullmatch(r"(log:)?(.+?)\.\.(.+)", text):
        return _parse_range(name, text, found)
    if found := re.fullmatch(r"(-?\d+):(-?\d+)(?::(\d+))?", text):
        step = int(found[3] or 1)
        n = -((int(found[1]) - int(found[2])) // step) if step else 0  # of Python's range, which may be too long to ask
        if not 0 < n <= _MAX_TRIALS:
            raise ConfigError(
                f"{name}: given {text}: that is {max(n, 0):,} values; allowed: low:high with 1 to {_MAX_TRIALS:,} values "
                "(0:5 is 0, 1, 2, 3, 4)"
            )
        return [str(one) for one in range(int(found[1]), int(found[2]), step)]
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _parse_range(name: str, text: str, found: re.Match[str]) -> ValueRange:
    low = high = math.nan
    with contextlib.suppress(ValueError):
        low, high = float(found[2]), float(found[3])
    if not (low < high and math.isfinite(high - low) and (low > 0 or not found[1])):
        raise ConfigError(f"{name}: given {text}; allowed: low..high, or log:low..high with both above 0, low below high")
    if name not in _INTEGER_FIELDS:
        return ValueRange(low, high, bool(found[1]))
    low, high = math.ceil(low), math.floor(high)
    if low > high:
        raise ConfigError(f"{name}: given {text}, with no whole number in it; allowed: whole numbers, as in 1..5")
    return ValueRange(low, high, bool(found[1]), integer=True)


def combine_values(given: Mapping[str, Any], *, random: int | None = None) -> list[dict[str, Any]]:
    """Combine the values of all parameters.

    Parameters
    ----------
    given : mapping
        From a field of `TrainConfig` to its values, see `parse_values`.
    random : int, optional
        Sample so many different combinations of all parameters but ``seed``, each of which is then combined with every seed.
        The same parameters give the same sample. Default: all combinations.

    Raises
    ------
    ConfigError
        Names the parameter, what was given and what is allowed.

    References
    ----------
    Bergstra and Bengio (2012), Random search for hyper-parameter optimization. JMLR 13.
    """
    space = {name: parse_values(name, value) for name, value in given.items()}
    seeds = space.pop("seed", [None])
    if isinstance(seeds, ValueRange):
        raise ConfigError(f"seed: given {given['seed']}; allowed: a list (0,1,2) or a range (0:3)")
    ranges = [name for name, values in space.items() if isinstance(values, ValueRange)]
    if ranges and random is None:
        raise ConfigError(
            f"{ranges[0]}: given {given[ranges[0]]}, a continuous range; say how many settings to sample (--random N)"
        )
    if random is not None and random < 1:
        raise ConfigError(f"random: given {random}; allowed: from 1")
    if random is not None and not space:
        raise ConfigError(
            f"random: given {random}, but only seeds vary, of which all are trained: there is nothing to sample"
        )
    total = math.inf if ranges else len(ParameterGrid(space))
    trials = min(total, random or math.inf) * len(seeds)
    if trials > _MAX_TRIALS:
        advice = "" if random else ". Sample some of them (--random N)"
        raise ConfigError(f"{trials:,} trials; allowed: up to {_MAX_TRIALS:,}{advice}")
    settings = list(ParameterGrid(space)) if random is None or random >= total else _sample_settings(space, random)
    return [setting | ({} if seed is None else {"seed": seed}) for setting in settings for seed in seeds]


def _sample_settings(space: dict[str, Any], n: int) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    finite = not any(isinstance(values, ValueRange) for values in space.values())
    draws = n if finite else 1000 + 100 * n  # of ranges, the same setting may come twice
    for setting in ParameterSampler(space, draws, random_state=0):
        found.setdefault(repr(setting), setting)
        if len(found) == n:
            return list(found.values())
    raise ConfigError(f"random: given {n}; the values given make only about {len(found)} different settings")


def make_trials(
    given: Mapping[str, Any],
    *,
    random: int | None = None,
    data_dir: str | Path | None = None,
    runs_folder: Path | None = None,
) -> tuple[list[Trial], str]:
    """Make the trials of a sweep; all are checked before the first begins.

    Parameters
    ----------
    given, random
        See `combine_values`.
    data_dir : path, optional
        See `load_dataset`; the data set is looked for here, once, so that ``auto`` means the same for all trials.
    runs_folder : Path, optional
        Folder of all runs, where ``from_run`` is looked for. Default: see `runs.find.results_dir`.

    Returns
    -------
    trials : list of Trial
        None twice.
    note : str
        About the data, see `Dataset.note`.

    Raises
    ------
    ConfigError
        Names each bad value once, or says how your own network breaks its contract.
    DataError
        If the data set is not available.
    """
    problems: dict[str, None] = {}
    configs = []
    for setting in combine_values(given, random=random):
        try:
            configs.append(make_config(**setting))
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise ConfigError("\n".join(problems))
    datasets = _load_datasets(configs, data_dir)
    configs = [_locate_start(config, results_dir(runs_folder)) for config in configs]
    for config in {config.model: config for config in configs if not config.network.built_in}.values():
        from mnist_utils.training.fit import check_network  # TensorFlow: only where it is needed

        classes = len(datasets[config.dataset, config.raw, config.skip_unreadable].classes)
        check_network(config.model_copy(update={"from_run": "", "freeze": ""}), classes)
    made = {}
    for config in configs:
        dataset = datasets[config.dataset, config.raw, config.skip_unreadable]
        trial = _make_trial(config.for_dataset(dataset.name, len(dataset.x_train)), dataset.sha256)
        made[trial.key] = trial
    notes = dict.fromkeys(part for dataset in datasets.values() for part in dataset.note.split("; ") if part)  # once each
    return list(made.values()), "; ".join(notes)


def _locate_start(config: TrainConfig, runs_folder: Path) -> TrainConfig:
    """Replace the name of the run to start from by its folder: a worker looks elsewhere."""
    if not config.from_run:
        return config
    return config.model_copy(update={"from_run": str(read_run(config.from_run, runs_folder).path.resolve())})


def _load_datasets(configs: list[TrainConfig], data_dir: str | Path | None) -> dict[tuple[str, bool, bool], Dataset]:
    """Load the one data set of all trials, read in each way; with as many images as the largest `train_limit` asks for."""
    if any(config.validation_fraction == 0 for config in configs):
        raise ConfigError("validation_fraction: given 0; allowed in a sweep: above 0, as settings are compared by it")
    fractions = {config.validation_fraction for config in configs}
    limits = [config.train_limit for config in configs if config.train_limit]  # `load_dataset` says if it has fewer
    found = {}
    for name, raw, skip_unreadable in dict.fromkeys((one.dataset, one.raw, one.skip_unreadable) for one in configs):
        found[name, raw, skip_unreadable] = load_dataset(
            name,
            data_dir=data_dir,
            validation_fraction=max(fractions),
            train_limit=max(limits, default=None),
            raw=raw,
            skip_unreadable=skip_unreadable,
        )
    names = sorted({dataset.given for dataset in found.values()})
    for field, values in ("dataset", names), ("validation_fraction", [f"{one:g}" for one in sorted(fractions)]):
        if len(values) > 1:
            raise ConfigError(
                f"{field}: given {', '.join(values)}; allowed: one in a sweep, as accuracies on different images do not "
                "compare. Sweep each by itself"
            )
    if len({raw for _, raw, _ in found}) > 1 and any(skip for _, _, skip in found):
        raise ConfigError(
            "raw: given false, true with skip_unreadable; allowed: one of them, as raw leaves out other pictures, and "
            "accuracies on different images do not compare. Sweep each by itself"
        )
    return found


def _make_trial(config: TrainConfig, sha256: str) -> Trial:
    fields = TrainConfig.model_fields
    given = {name: one for name, one in config.model_dump().items() if name not in _LATER or one != fields[name].default}
    start = {"from": file_sha256(Path(config.from_run) / "model.keras")} if config.from_run else {}
    text = json.dumps(given | start | {"sha256": sha256}, sort_keys=True)
    return Trial(hashlib.sha256(text.encode()).hexdigest()[:12], config, sha256)


def varied_parameters(trials: list[Trial]) -> list[str]:
    """Name what the trials vary in, see `experiments.results.varied_fields`."""
    return results.varied_fields([trial.config.model_dump() for trial in trials])


def describe_trial(trial: Trial, names: list[str]) -> str:
    """Write a trial of a sweep that varies `names` as ``batch_size 64, seed 3``."""
    return results.describe_setting({name: getattr(trial.config, name) for name in (*names, results.SEED)})


def sweep_name(trials: list[Trial]) -> str:
    """Name a sweep after what it varies and all its trials, so that the same command finds it again."""
    digest = hashlib.sha256(" ".join(sorted(trial.key for trial in trials)).encode()).hexdigest()[:8]
    return "-".join([*varied_parameters(trials), digest])[-100:].lstrip("-_.")
