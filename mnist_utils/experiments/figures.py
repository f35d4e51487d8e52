"""Figures that compare many runs; `results` computes what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mnist_utils.evaluation.statistics import accuracy_interval
from mnist_utils.experiments import results

DATA, QUIET = "#0072B2", "#777777"
FEW = 10  # values of a parameter that each get a place of their own on the axis
_COLOURS = "cividis"  # rises evenly in brightness, and looks the same to colour-blind eyes
_LEAST_RANGE = 1.0  # percentage points from the first colour to the last
_WIDE = 100  # from such a ratio of the largest to the smallest value on, an axis is logarithmic


def sweep_figures(trials: pd.DataFrame, *, new_figure: Callable[[], Figure] = Figure) -> list[tuple[Figure, str, bool]]:
    """Draw all that can be drawn of these runs.

    Parameters
    ----------
    trials : DataFrame
        From `experiments.results.trials_table`.
    new_figure : callable
        Makes an empty figure; ``plt.figure`` for one that is shown. Default: one that is only ever saved.

    Returns
    -------
    list of (figure, what it shows, whether it needs the whole width of a page)
    """
    names, seeds = results.trial_parameters(trials), trials[results.SEED].nunique()
    if not names:
        return []
    over = f"{len(trials)} runs, {seeds} seed{'s' * (seeds > 1)}, {trials['data'].iloc[0]}"
    band = "; bars: 95 % interval over seeds" if seeds > 1 else "; one seed, so no interval"
    found = {name: results.parameter_means(trials, name) for name in names}
    drawn: list[tuple[Figure, str, bool]] = [
        (
            parameter_effects(found, title=f"What each parameter does\n({over}{band})", figure=new_figure()),
            "Validation accuracy against each parameter, over all settings of the others",
            len(names) > 1,
        )
    ]
    few = [name for name in names if trials[name].nunique(dropna=False) <= FEW]
    if len(few) == 2:
        down, across = sorted(few, key=lambda name: trials[name].nunique())
        ax = _axes(new_figure(), 5.0 + 0.5 * trials[across].nunique(), 2.0 + 0.6 * trials[down].nunique())
        heat_map(trials, down, across, title=f"Validation accuracy, per cent ({over})", ax=ax)
        drawn.append((ax.figure, f"Validation accuracy for each pair of {down} and {across}", False))
    if len(names) > 2:
        ax = _axes(new_figure(), 1.9 * (len(names) + 1), 4.4)
        parallel_coordinates(trials, names, title=f"Every run a line, the brighter the better ({over})", ax=ax)
        drawn.append((ax.figure, "Every run as a line through its parameters to its validation accuracy", True))
    ax = _axes(new_figure(), 7.5, 4.4)
    accuracy_against_time(results.settings_table(trials), names, title=f"Validation accuracy against time ({over})", ax=ax)
    drawn.append((ax.figure, "Mean validation accuracy of each setting against its seconds of training", False))
    return drawn


def _axes(figure: Figure, width: float, height: float) -> Any:
    figure.set_size_inches(width, height)
    figure.set_layout_engine("constrained")
    return figure.subplots()


def parameter_effects(found: Mapping[str, pd.DataFrame], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw the validation accuracy against each parameter, one beside the other on a common scale.

    Parameters
    ----------
    found : mapping
        From a parameter's name to its `results.parameter_means`.
    """
    figure = figure or plt.figure()
    across = min(4, len(found))
    down = -(-len(found) // across)
    figure.set_size_inches(max(8.0, 3.2 * across), 0.9 + 3.1 * down)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for ax, (name, means) in zip(axes, found.items(), strict=False):
        parameter_effect(means, name, ax=ax)
    for ax in axes[len(found) :]:
        ax.set_visible(False)
    figure.suptitle(title)
    return figure


def parameter_effect(means: pd.DataFrame, name: str, *, ax: Axes | None = None) -> Axes:
    """Draw a mean for each value of a parameter, with its 95 % interval over seeds (`results.parameter_means`)."""
    ax = ax or plt.subplots(layout="constrained")[1]
    values = means[name]
    on_scale = pd.api.types.is_numeric_dtype(values) and not values.hasnans and values.nunique() > FEW
    log = on_scale and values.min() > 0 and values.max() / values.min() >= _WIDE
    sns.pointplot(
        means if on_scale else means.assign(**{name: _labels(values, name)}), x=name, y="validation", ax=ax, color=DATA,
        linestyle="none", errorbar=lambda seeds: accuracy_interval(seeds.to_numpy())[1:], capsize=0.1,
        native_scale=on_scale, log_scale=(10, False) if log else None, err_kws={"color": QUIET, "linewidth": 1.5},
    )  # fmt: skip
    ax.tick_params(axis="x", rotation=0 if on_scale or values.nunique() < 6 else 45)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(axis="y", alpha=0.3)
    sns.despine(ax=ax)
    ax.set(xlabel=name.replace("_", " "), ylabel="validation accuracy")
    return ax


def heat_map(trials: pd.DataFrame, down: str, across: str, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the mean validation accuracy for every pair of values of two parameters, over seeds and all other parameters.

    Parameters
    ----------
    trials : DataFrame
        From `experiments.results.trials_table`.
    down, across : str
        Its columns.
    """
    named = trials.assign(**{name: _labels(trials[name], name) for name in (down, across)})
    cells = named.pivot_table(index=down, columns=across, values="validation", aggfunc="mean")
    cells = cells.reindex(index=_in_order(trials[down], down), columns=_in_order(trials[across], across))
    if ax is None:
        size = (2.2 + 0.9 * cells.shape[1], 1.4 + 0.55 * cells.shape[0])
        ax = plt.subplots(figsize=(max(5.0, size[0]), max(3.0, size[1])), layout="constrained")[1]
    shown = 100 * cells
    low, high = np.nanmin(shown), np.nanmax(shown)
    wider = max(0.0, _LEAST_RANGE - (high - low)) / 2  # else small differences get the strongest colours
    bar = {"format": "%.2f %%"}
    sns.heatmap(
        shown, annot=True, fmt=".2f", cmap=_COLOURS, vmin=low - wider, vmax=high + wider, ax=ax, linewidths=1, cbar_kws=bar
    )
    ax.set(xlabel=across.replace("_", " "), ylabel=down.replace("_", " "), title=title or "Validation accuracy, per cent")
    ax.tick_params(axis="y", rotation=0)
    return ax


def _labels(values: pd.Series[Any], name: str) -> list[str]:
    return [results.format_value(name, value) for value in values]


def _in_order(values: pd.Series[Any], name: str) -> list[str]:
    """Write each value once, in order, none last."""
    return _labels(pd.Series([*sorted(values.dropna().unique()), *[None] * bool(values.hasnans)], dtype=object), name)


def parallel_coordinates(trials: pd.DataFrame, names: list[str], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a line for each run through its parameters, coloured by its validation accuracy, which is also the last axis."""
    columns = [*names, "validation"]
    if ax is None:
        ax = plt.subplots(figsize=(max(6.0, 1.9 * len(columns)), 4.2), layout="constrained")[1]
    places = np.empty((len(trials), len(columns)))
    for i, name in enumerate(columns):
        places[:, i] = _draw_axis(ax, i, trials[name], name)
    # The same place for the same value would hide all lines but one.
    spread = np.random.default_rng(0).uniform(-0.012, 0.012, places.shape)
    spread[:, -1] = 0
    accuracy = trials["validation"].to_numpy()
    order = accuracy.argsort()
    span = max(float(np.ptp(accuracy)), 1e-9)
    colours = plt.get_cmap(_COLOURS)((accuracy - accuracy.min()) / span)
    for i in order:  # the best on top
        ax.plot(places[i] + spread[i], color=colours[i], lw=1.6, alpha=0.8)
    ax.set(xlim=(-0.15, len(columns) - 0.6), ylim=(-0.06, 1.06), yticks=[], title=title)
    ax.set_xticks(range(len(columns)), [name.replace("_", " ") for name in columns])
    ax.tick_params(axis="x", length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return ax


def _draw_axis(ax: Axes, at: int, values: pd.Series[Any], name: str) -> np.ndarray[Any, Any]:
    """Draw one vertical axis with its values; return each run's place on it, 0 to 1."""
    ax.axvline(at, color=QUIET, lw=1, zorder=0)
    numbers = pd.api.types.is_numeric_dtype(values) and not values.hasnans
    if numbers and (values.nunique() > FEW or name == "validation"):
        given = values.to_numpy(float)
        if name != "validation" and given.min() > 0 and given.max() / given.min() >= _WIDE:
            given = np.log(given)
        low, high = float(given.min()), float(given.max())
        places = (given - low) / ((high - low) or 1.0)
        ends = {float(places[values.argmin()]): values.min(), float(places[values.argmax()]): values.max()}
        labels = {place: f"{value:.2%}" if name == "validation" else f"{value:g}" for place, value in ends.items()}
    else:
        order = _in_order(values, name)
        where = {text: i / max(1, len(order) - 1) for i, text in enumerate(order)}
        places = np.array([where[text] for text in _labels(values, name)])
        labels = {place: text for text, place in where.items()}
    for place, text in labels.items():
        ax.annotate(text, (at, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9,
                    bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}, zorder=5)  # fmt: skip
    return places


def _ends(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return how far the interval reaches below and above the mean, shape (2, n); the two differ where 1 cuts it off."""
    return np.nan_to_num(np.array([table["mean"] - table["low"], table["high"] - table["mean"]], dtype=float))


def accuracy_against_time(table: pd.DataFrame, names: list[str], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each setting's mean validation accuracy against its seconds of training; name those that no other beats in both.

    Parameters
    ----------
    table : DataFrame
        From `experiments.results.settings_table`.
    names : list of str
        Its parameters.
    """
    ax = ax or plt.subplots(figsize=(6.2, 4.4), layout="constrained")[1]
    ordered = table.sort_values(["seconds", "mean"], ascending=[True, False])
    front = ordered[ordered["mean"] > ordered["mean"].cummax().shift(fill_value=-1)]
    ax.errorbar(
        table["seconds"], table["mean"], yerr=_ends(table), fmt="o", color=QUIET, ecolor=QUIET, alpha=0.6, capsize=3,
        label="another is, on average",
    )  # fmt: skip
    ax.plot(front["seconds"], front["mean"], "o-", color=DATA, label="no other is both faster and better")
    for i, (_, row) in enumerate(front.tail(6).iterrows()):
        text = ", ".join(results.format_value(name, row[name]) for name in names)
        ax.annotate(
            text, (row["seconds"], row["mean"]), xytext=(6, -12 if i % 2 else 6), textcoords="offset points", fontsize=9
        )
    if table["seconds"].max() / table["seconds"].min() >= _WIDE:
        ax.set_xscale("log")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    sns.despine(ax=ax)
    named = ", ".join(name.replace("_", " ") for name in names)
    ax.set(xlabel="seconds of training", ylabel="validation accuracy", title=title or f"Accuracy against time ({named})")
    return ax
