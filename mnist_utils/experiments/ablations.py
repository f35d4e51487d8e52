"""Test a claim: train with and without one thing, from the same seeds, and put an interval on the difference."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t, ttest_1samp

from mnist_utils._support.arrays import Images
from mnist_utils._support.progress import progress_display
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.evaluation.statistics import PairedEffect, holm_correction
from mnist_utils.training import epochs, fit
from mnist_utils.training.config import TrainConfig, make_config

Predict = Callable[[Images], NDArray[Any]]
Verdict = Literal["holds", "does not hold", "cannot tell"]

MEASURES = {
    "accuracy": "accuracy on validation images",
    "inverted_accuracy": "accuracy on the same images in inverted colours",
    "seconds": "seconds an epoch",
}


# Other work on the machine only ever adds to a time, so the shorter of two says more (as in `timeit`).
_BEST_OF = 2


def load_subset(
    name: str, images: int, *, data_dir: str | Path | None = None, raw: bool = False, skip_unreadable: bool = False
) -> Dataset:
    """Load a data set with only `images` of its training images, stratified; with all if it has no more, or for -1."""
    reading: dict[str, Any] = {"data_dir": data_dir, "raw": raw, "skip_unreadable": skip_unreadable}
    whole = load_dataset(name, **reading)
    if images == -1 or images >= len(whole.x_train):
        return whole
    few = load_dataset(whole.given, **reading, train_limit=images)
    return replace(few, note=whole.note)


def train_variants(
    variants: Mapping[str, Mapping[str, Any]],
    base: Mapping[str, Any],
    dataset: Dataset,
    seeds: Sequence[int],
    *,
    change: Mapping[str, Callable[[Dataset, int], Dataset]] | None = None,
    measure: Callable[[Predict], Mapping[str, Any]] | None = None,
    each: Callable[..., Iterable[Any]] = map,
    progress: bool = True,
) -> pd.DataFrame:
    """Train each variant from each seed, and test it on the validation images; the test images are not touched.

    All variants of a seed are trained one after the other before the next seed's, so that a machine that becomes
    slower or busier does so for all of them.

    Parameters
    ----------
    variants : mapping
        From a name to the fields of `TrainConfig` in which the variant differs from `base`.
    base : mapping
        Fields of `TrainConfig` that all have in common.
    dataset : Dataset
        What all train on, whatever `train_limit` says; see `load_subset`.
    seeds : sequence of int
    change : mapping, optional
        From a variant's name to what makes its data set, given `dataset` and the seed, where it trains on another.
    measure : callable, optional
        What else to find out about each model: given a function from images to probabilities, it returns columns.
    each : callable
        Calls a function for each training, as `map` does, and yields in order what it returned; `runner.parallel_map`
        gives one that uses several processes. Their times then say less, for they disturb each other.
    progress : bool
        Show a line for each training.

    Returns
    -------
    DataFrame with a row for each training: variant, seed, accuracy (0 to 1), inverted_accuracy (0 to 1; the images as black
    on white, which the model never saw), seconds (of the shortest epoch but the first, in which TensorFlow also compiles;
    of the first if there is no other), and what `measure` returns

    Raises
    ------
    ConfigError
        If a variant is not a valid `TrainConfig`, before anything is trained.
    """
    plan = [
        (name, make_config(**dict(base) | {"dataset": dataset.given} | dict(overrides) | {"seed": seed}))
        for seed in seeds
        for name, overrides in variants.items()
    ]
    data = [change[name](dataset, config.seed) if change and name in change else dataset for name, config in plan]
    train_once, rows = partial(_train_once, measure=measure), []
    with progress_display(len(plan), enabled=progress) as show:
        show(0, f"{plan[0][0]}, seed {plan[0][1].seed}" if plan else "")
        for i, found in enumerate(each(train_once, [config for _, config in plan], data), start=1):
            (name, config), coming = plan[i - 1], plan[i : i + 1]
            rows.append({"variant": name, "seed": config.seed} | found)
            line = f"{name}, seed {config.seed}: accuracy {found['accuracy']:.2%}, {found['seconds']:.2f} s an epoch"
            show(i, "".join(f"{after}, seed {next_config.seed}" for after, next_config in coming), line=line)
    return pd.DataFrame(rows)


def _train_once(
    config: TrainConfig, dataset: Dataset, measure: Callable[[Predict], Mapping[str, Any]] | None
) -> dict[str, Any]:
    # Testing is done once, below: after each epoch it would take longer than training on a few thousand images does.
    one = replace(dataset, x_validation=dataset.x_validation[:0], y_validation=dataset.y_validation[:0])
    with tempfile.TemporaryDirectory() as folder:  # a checkpoint that nobody resumes from
        trained = fit.train(config, dataset if config.patience else one, Path(folder), progress=False)
    seconds = [row["seconds"] for row in trained.history]
    predict = partial(fit.predict_probabilities, trained.model)
    accuracy, inverted = (
        float((predict(x).argmax(axis=1) == dataset.y_validation).mean())
        for x in (dataset.x_validation, 255 - dataset.x_validation)
    )
    found = {"accuracy": accuracy, "inverted_accuracy": inverted, "seconds": min(seconds[1:] or seconds)}
    return found | dict(measure(predict) if measure else {})


def time_feeding(config: TrainConfig, dataset: Dataset, repeats: int) -> pd.DataFrame:
    """Time an epoch of `fit()` fed with an array, and fed by a Python generator of the same batches, in turns.

    One model and one compiled step serve both, and each is run once before the clock starts: what differs is only how the
    images come.

    Parameters
    ----------
    config : TrainConfig
        Model, batch size, precision and seed; the rest does not matter.
    dataset : Dataset
        Its training images are used, in their order.
    repeats : int
        How often each is timed, each time as the shorter of two epochs.

    Returns
    -------
    DataFrame with columns variant ("array" or "generator"), repeat (from 0) and seconds
    """
    model = fit.compile_model(config, len(dataset.x_train), len(dataset.classes))
    x, size = dataset.x_train[..., None], config.batch_size
    y = epochs.one_hot_targets(dataset.y_train, classes=len(dataset.classes))
    steps = math.ceil(len(x) / size)

    def batches() -> Iterator[tuple[Images, epochs.Targets]]:
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]

    def feed(variant: str) -> float:
        start = time.perf_counter()
        if variant == "array":
            model.fit(x, y, batch_size=size, shuffle=False, verbose=0)
        else:
            model.fit(batches(), steps_per_epoch=steps, shuffle=False, verbose=0)
        return time.perf_counter() - start

    for variant in "array", "generator":  # compiles
        feed(variant)
    rows = []
    for repeat in range(repeats):
        best = {"array": math.inf, "generator": math.inf}
        for _ in range(_BEST_OF):
            best = {variant: min(seconds, feed(variant)) for variant, seconds in best.items()}
        rows += [{"variant": variant, "repeat": repeat, "seconds": seconds} for variant, seconds in best.items()]
    return pd.DataFrame(rows)


def verdict(effect: PairedEffect, threshold: float | None = None) -> Verdict:
    """Judge the claim that the effect is above a threshold.

    Parameters
    ----------
    effect : Effect
    threshold : float, optional
        Default: no effect, which is 0 for a difference and 1 for a ratio.

    Returns
    -------
    "holds" if the whole interval is above the threshold, "does not hold" if the whole interval is at or below it, else
    "cannot tell"; also where all pairs agree to the last digit, which is too good to be their spread
    """
    threshold = _or_no_effect(threshold, effect)
    low, high = effect.interval
    if low == high:
        return "cannot tell"
    if low > threshold:
        return "holds"
    return "does not hold" if high <= threshold else "cannot tell"


def _or_no_effect(threshold: float | None, effect: PairedEffect) -> float:
    return (1.0 if effect.is_ratio else 0.0) if threshold is None else threshold


def verdict_sentence(claim: str, effect: PairedEffect, threshold: float | None = None) -> str:
    """Say in Markdown what was claimed, what was found, and whether the claim holds."""
    return (
        f"**{claim}: {verdict(effect, threshold)}.** {effect.b} against {effect.a}, {MEASURES[effect.measure]}: "
        f"{format_amount(effect.mean, effect)} (95 %: {_between(effect)}; {effect.n} {effect.pairs}s)."
    )


def format_amount(value: float, effect: PairedEffect) -> str:
    """Write a ratio as ``1.32 times``, a difference of accuracies as ``+0.45 points`` (of per cent)."""
    return f"{value:.2f} times" if effect.is_ratio else f"{100 * value:+z.2f} points"


def _between(effect: PairedEffect) -> str:
    return " to ".join(format_amount(value, effect).split()[0] for value in effect.interval)


def verdict_table(claims: Sequence[tuple[str, PairedEffect, float | None]]) -> pd.DataFrame:
    """Put all claims into a table, and judge them together.

    Of many 95 % intervals, one in twenty misses the true effect. Here Holm's correction keeps the probability of any wrong
    verdict in the table at 5 %, so a verdict may be weaker than that of `verdict`.

    Parameters
    ----------
    claims : sequence of (claim, effect, threshold)
        As `verdict_sentence` and `verdict` take them.

    Returns
    -------
    DataFrame
        A row for each claim; columns: claim, effect, 95 % interval, pairs, could be seen (see `detectable_effect`), verdict.
    """
    judged = [(claim, effect, _or_no_effect(threshold, effect)) for claim, effect, threshold in claims]
    corrected = holm_correction(np.nan_to_num([_p_value(effect, line) for _, effect, line in judged], nan=1.0))
    rows = []
    for (claim, effect, line), p_value in zip(judged, corrected, strict=True):
        word = "cannot tell" if p_value >= 0.05 else "holds" if effect.mean > line else "does not hold"
        seen = detectable_effect(effect)
        rows.append(
            {
                "claim": claim,
                "effect": format_amount(effect.mean, effect),
                "95 % interval": _between(effect),
                "pairs": effect.n,
                "could be seen": "" if math.isnan(seen) else format_amount(seen, effect).lstrip("+"),
                "verdict": word,
            }
        )
    return pd.DataFrame(rows)


def detectable_effect(effect: PairedEffect) -> float:
    """Return the difference from the threshold that as many pairs, spread as these, show in 80 of 100 cases.

    Returns
    -------
    float
        A difference of the measure, above 0; of a ratio, the ratio, above 1. NaN where the pairs have no spread.
    """
    spread = _values(effect).std(ddof=1) / np.sqrt(effect.n)
    if spread == 0:
        return math.nan
    seen = float((t.ppf(0.975, effect.n - 1) + t.ppf(0.8, effect.n - 1)) * spread)
    return math.exp(seen) if effect.is_ratio else seen


def _p_value(effect: PairedEffect, threshold: float) -> float:
    """Return the two-sided p-value of the t test that the effect is the threshold; NaN where the pairs agree."""
    values, line = _values(effect), math.log(threshold) if effect.is_ratio else threshold
    return math.nan if effect.interval[0] == effect.interval[1] else float(ttest_1samp(values, line).pvalue)


def _values(effect: PairedEffect) -> NDArray[np.float64]:
    return np.log(effect.effects) if effect.is_ratio else np.array(effect.effects)
