"""Compare many runs: what each parameter did, and which setting is best as far as the seeds can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import studentized_range

from mnist_utils.evaluation.statistics import ACCURACY_TOLERANCE, accuracy_interval
from mnist_utils.runs.run import Run, RunError
from mnist_utils.training.config import TrainConfig, make_config
from mnist_utils.training.network import KERAS_DEFAULTS, NAMES

SEED = "seed"


@dataclass(frozen=True)
class BestSetting:
    """The setting with the best mean validation accuracy, and what its models did on the test images.

    Attributes
    ----------
    setting : dict
        From parameter to value; empty where all runs have the same.
    runs : tuple of str
        Their names, one for each seed; where a seed was trained twice, the mean counts.
    validation, test : (float, float, float)
        Mean over the seeds and its 95 % interval (Student's; NaN for one seed), 0 to 1.
    """

    setting: dict[str, Any]
    runs: tuple[str, ...]
    validation: tuple[float, float, float]
    test: tuple[float, float, float]


def varied_fields(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the parameters that have more than one value, without ``seed`` and what only follows from the model.

    Parameters
    ----------
    configs : sequence of mapping
        Fields of `TrainConfig` with their values, see `recorded_value`.
    """
    names = [name for name in TrainConfig.model_fields if len({recorded_value(config, name) for config in configs}) > 1]
    # A model has defaults of its own: epochs, say, that vary with it and not by themselves.
    recipes: dict[tuple[str, str], Mapping[str, Any]] = {}
    for config in configs:
        model, dataset = of = config["model"], config["dataset"]
        # Of your own network, a run does not say which values were given: those of the first one count as its recipe.
        recipes.setdefault(of, make_config(model=model, dataset=dataset).model_dump() if model in NAMES else config)

    def follows(name: str) -> bool:
        return name not in ("model", "dataset") and all(
            recorded_value(config, name) == recorded_value(recipes[config["model"], config["dataset"]], name)
            for config in configs
        )

    return [name for name in names if name != SEED and not follows(name)]


def recorded_value(config: Mapping[str, Any], name: str) -> Any:
    """Return a field's value in a recorded configuration; what it was where an earlier version did not have it."""
    if name in config or name in KERAS_DEFAULTS:  # what networks have recipes for: that version had others
        return config.get(name)
    return TrainConfig.model_fields[name].default


def trials_table(found: Sequence[Run]) -> pd.DataFrame:
    """Put runs that were trained and tested into a table. The test results stay where they are: one may not choose by them.

    Returns
    -------
    DataFrame
        A row for each run (index: its name); columns: what they vary in, seed, validation (accuracy, 0 to 1),
        low, high (its 95 % interval over images), seconds (of training), data, commit.

    Raises
    ------
    RunError
        If there is none, or they were trained on different data, whose accuracies cannot be compared.
    """
    whole = [run for run in found if run.metrics]
    if not whole:
        raise RunError("no run was trained to the end, so there is nothing to compare")
    data = sorted({run.dataset_name for run in whole})
    if len(data) > 1:
        raise RunError(
            f"the runs are of {', '.join(data)}: accuracies on different images do not compare; choose by data set"
        )
    if len({run.sha256 for run in whole}) > 1:
        raise RunError(
            f"the runs are of different data, all called {data[0]}: accuracies on different images do not compare"
        )
    names = varied_fields([run.facts["config"] for run in whole])
    rows = []
    for run in whole:
        metrics = run.trained()
        low, high = metrics.validated().accuracy_interval
        rows.append(
            {"run": run.name}
            | {name: recorded_value(run.facts["config"], name) for name in (*names, SEED)}
            | {"validation": metrics.validated().accuracy, "low": low, "high": high}
            | {"seconds": metrics.seconds["training"], "data": data[0], "commit": run.facts.get("git_commit") or ""}
        )
    return pd.DataFrame(rows).set_index("run")


def trial_parameters(trials: pd.DataFrame) -> list[str]:
    """Name the columns of `trials_table` that are parameters, without the seed."""
    return list(trials.columns[: trials.columns.get_loc(SEED)])


def settings_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Take the seeds of each setting together, best mean validation accuracy first.

    A setting that lacks seeds which others have comes after those: with fewer, its mean has more luck in it.

    Parameters
    ----------
    trials : DataFrame
        From `trials_table`.

    Returns
    -------
    DataFrame
        A row for each setting; columns: the parameters, seeds (how many), mean, low, high (95 % interval over seeds,
        Student's; NaN where `mean_interval` has none), seconds (mean), p_value (against the first row, of Tukey's test for
        all pairs, with the seeds as blocks; NaN where the row has other seeds than the first, or one, or there is no
        spread).

    Notes
    -----
    The first of many settings is first by luck as well, so its mean is flattered. A test of each against the first would
    take that luck for an effect: with 8 settings that are all alike, it calls some worse in 9 of 100 sweeps, even with
    Holm's correction. Tukey's test holds for the difference between any two, so also for the one between the first and
    the last. It assumes that all settings spread alike over the seeds. So where a pair's own spread is larger than the
    pooled one, it counts: then 3 to 4 of 100 sweeps call one of up to 8 equal settings worse, and 3 to 8 if some spread
    three times as much as others (of 20 settings, up to 11).

    References
    ----------
    Hsu (1996), Multiple comparisons: theory and methods. Sections 4 (the best) and 5 (all pairs).
    """
    names = trial_parameters(trials)
    groups = trials.groupby(names, dropna=False, sort=False) if names else [((), trials)]
    found: list[tuple[pd.Series[float], dict[str, Any]]] = []
    for values, rows in groups:
        by_seed = rows.groupby(SEED)["validation"].mean()
        mean, low, high = accuracy_interval(by_seed.to_numpy())
        found.append((by_seed, dict(zip(names, values, strict=True)) | {
            "seeds": len(by_seed), "mean": mean, "low": low, "high": high, "seconds": rows["seconds"].mean(),
        }))  # fmt: skip
    found.sort(key=lambda one: (-one[1]["seeds"], -one[1]["mean"]))
    result = pd.DataFrame([row for _, row in found])
    return result.assign(p_value=_against_first([by_seed for by_seed, _ in found]))


def ranked_count(found: pd.DataFrame) -> int:
    """Count those of `settings_table` that have as many seeds as any: among them the first is chosen."""
    return int((found["seeds"] == found["seeds"].max()).sum())


def _against_first(settings: Sequence[pd.Series[float]]) -> NDArray[np.float64]:
    """Compute the p-values of `settings_table` from each setting's accuracies by seed."""
    found = np.full(len(settings), np.nan)
    seeds = set(settings[0].index)
    alike = [i for i, by_seed in enumerate(settings) if set(by_seed.index) == seeds]
    values = np.array([settings[i].sort_index() for i in alike])
    k, n = values.shape
    if k < 2 or n < 2:
        return found
    means = values.mean(axis=1)
    left = values - means[:, None] - values.mean(axis=0) + values.mean()  # what neither setting nor seed explains
    freedom = (k - 1) * (n - 1)
    spread = float(np.sqrt((left**2).sum() / freedom))
    if spread < ACCURACY_TOLERANCE:
        return found
    own = (values[0] - values).std(axis=1, ddof=1) / np.sqrt(2)  # of the pair
    found[alike] = studentized_range.sf((means[0] - means) / (np.maximum(spread, own) / np.sqrt(n)), k, freedom)
    found[0] = np.nan
    return found


def parameter_means(trials: pd.DataFrame, parameter: str) -> pd.DataFrame:
    """Average the validation accuracy over the settings that share a parameter's value, seed by seed.

    Where there are settings of the other parameters, and seeds, that were trained with every value of this one, only those
    count: else a grid's missing trial would look like an effect. In a random sample there may be none; then all count, and
    the luck of the sample adds to the spread.

    Returns
    -------
    DataFrame
        A row for each value, in order, and seed; columns: the parameter, seed, validation.
    """
    names = [name for name in (*trial_parameters(trials), SEED) if name != parameter]
    others = trials[names].astype(str).agg("|".join, axis=1)
    met = trials[parameter].groupby(others).transform(lambda values: values.nunique(dropna=False))
    fair = trials[met == trials[parameter].nunique(dropna=False)]
    groups = (trials if fair.empty else fair).groupby([parameter, SEED], dropna=False)
    return groups["validation"].mean().reset_index()


def best_setting(found: Sequence[Run], trials: pd.DataFrame) -> BestSetting:
    """Choose the setting that `settings_table` puts first, and open the test results of its runs alone.

    Parameters
    ----------
    found : sequence of Run
    trials : DataFrame
        From `trials_table`, of the same runs.
    """
    names, best = trial_parameters(trials), settings_table(trials).iloc[0]
    setting = {name: best[name] for name in names}
    same = trials
    for name, value in setting.items():
        same = same[same[name].isna() if pd.isna(value) else same[name] == value]
    by_name = {run.name: run for run in found}
    same = same[~same.index.duplicated()]
    tests = same.assign(test=[by_name[name].trained().test.accuracy for name in same.index])
    of_seeds = tests.groupby(SEED)["test"].mean().to_numpy()  # as validation: a seed that was trained twice counts once
    one_each = tuple(same.index[~same[SEED].duplicated()])
    return BestSetting(setting, one_each, (best["mean"], best["low"], best["high"]), accuracy_interval(of_seeds))


def describe_setting(setting: Mapping[str, Any]) -> str:
    """Write a setting as ``batch_size 64, patience off``."""
    return ", ".join(f"{name} {format_value(name, value)}" for name, value in setting.items()) or "the only setting"


def format_value(name: str, value: Any) -> str:
    """Write a parameter's value as a person would."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return {"train_limit": "all", "patience": "off"}.get(name, "none")
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"  # as it is given
    return f"{value:g}" if isinstance(value, (int, float, np.number)) else str(value)


def formatted_settings(found: pd.DataFrame) -> pd.DataFrame:
    """Write `settings_table` for people: parameters, seeds, validation, 95 % interval, seconds, against the first."""
    names = list(found.columns[: found.columns.get_loc("seeds")])
    verdicts = ["worse" if p < 0.05 else "" if np.isnan(p) else "not significant" for p in found["p_value"]]
    fewer = found["seeds"] < found["seeds"].max()
    return pd.DataFrame(
        {name: [format_value(name, value) for value in found[name]] for name in names}
        | {
            "seeds": found["seeds"],
            "validation": [f"{mean:.2%}" for mean in found["mean"]],
            "95 % interval": [
                "" if np.isnan(low) else f"{100 * low:.2f}-{100 * high:.2f}"
                for low, high in zip(found["low"], found["high"], strict=True)
            ],
            "seconds": [f"{seconds:.1f}" for seconds in found["seconds"]],
            "against the first": ["lacks seeds" if no else verdict for no, verdict in zip(fewer, verdicts, strict=True)],
        }
    )


def format_interval(numbers: tuple[float, float, float]) -> str:
    """Write a mean and its interval as ``99.20 % (99.10 to 99.30 over seeds)``."""
    mean, low, high = numbers
    return f"{100 * mean:.2f} %" + ("" if np.isnan(low) else f" ({100 * low:.2f} to {100 * high:.2f} over seeds)")
