"""Figures of measured shares as points with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR

_LEVEL = 0.05  # of the tests whose points are filled


@dataclass(frozen=True)
class _Row:
    """A point with its interval, and its place and text on the axis."""

    label: str
    value: float
    low: float
    high: float
    filled: bool = False


def slice_error_rates(table: pd.DataFrame, *, overall: float | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the error rate on each slice with its interval, group by group.

    A filled point's rate differs from that of all other images by more than chance.

    Parameters
    ----------
    table : DataFrame
        From `evaluation.slices.slice_errors`.
    overall : float, 0 to 1, optional
        The error rate on all images, for a line.
    """
    groups: dict[str, list[_Row]] = {}
    for row in table.to_dict("records"):
        label = f"{row['slice']}  ({row['errors']:,} of {row['n']:,})"
        point = _Row(label, row["rate"], row["low"], row["high"], row["p_value"] < _LEVEL)
        groups.setdefault(str(row["group"]) if row["group"] != row["slice"] else "", []).append(point)
    ax = _grouped_intervals(groups, ax)
    if overall is not None:
        _mark(ax, overall, "all images")
    ax.set_xlim(left=0)
    ax.set(xlabel="error rate with 95 % interval (filled: differs from all others, p < 0.05)")
    ax.set_title(title, pad=18 if overall is not None else None)
    return ax


def ood_areas(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw how well each score separates digits from each kind of other images (`evaluation.ood.compare_ood_scores`)."""
    groups: dict[str, list[_Row]] = {}
    for row in table.reset_index().to_dict("records"):
        point = _Row(str(row["score"]), row["auroc"], row["low"], row["high"])
        groups.setdefault(f"{row['kind']} (n = {row['n']:,})", []).append(point)
    ax = _grouped_intervals(groups, ax)
    _mark(ax, 0.5, "chance")
    ax.set(xlim=(-0.02, 1.02), xlabel="AUROC with 95 % interval")
    ax.set_title(title, pad=18)
    return ax


def attack_curves(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the accuracy against the size of the change, for each attack, with a band for its 95 % interval.

    Parameters
    ----------
    table : DataFrame
        From `evaluation.adversarial.accuracy_under_attack`; at most two attacks.
    """
    ax = ax or plt.subplots(figsize=(7, 4), layout="constrained")[1]
    styles = (TRAINING_COLOR, "o", "-"), (VALIDATION_COLOR, "s", "--")
    for (attack, rows), (colour, marker, line) in zip(table.groupby("attack", sort=False), styles, strict=False):
        ax.plot(rows["epsilon"], rows["accuracy"], color=colour, marker=marker, linestyle=line, label=str(attack))
        ax.fill_between(rows["epsilon"], rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="most that a pixel changes (1: from black to white)", ylabel="accuracy", ylim=(-0.03, 1.03), title=title)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def _grouped_intervals(groups: Mapping[str, Sequence[_Row]], ax: Axes | None) -> Axes:
    """Draw points with intervals from top to bottom, under the names of their groups; a group without a name has none."""
    lines = sum(len(rows) + 1.6 * bool(name) for name, rows in groups.items())
    ax = ax or plt.subplots(figsize=(7.5, 1.1 + 0.27 * lines), layout="constrained")[1]
    place, ticks = 0.0, []
    for name, rows in groups.items():
        if name:
            ax.annotate(
                name, (0, place), (-6, 0), ("axes fraction", "data"), "offset points", ha="right", va="center", weight="bold"
            )
            place += 1
        for row in rows:
            colour = VALIDATION_COLOR if row.filled else TRAINING_COLOR
            ends = [[row.value - row.low], [row.high - row.value]]
            ax.errorbar(
                [row.value], [place], xerr=ends, fmt="o", capsize=3, color=colour, mfc=colour if row.filled else "white"
            )
            ticks.append((place, row.label))
            place += 1
        place += 0.6
    ax.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(place - 0.9, -0.8)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3, axis="x")
    sns.despine(ax=ax, left=True)
    return ax


def _mark(ax: Axes, value: float, text: str) -> None:
    ax.axvline(value, color="grey", linestyle="--", linewidth=1, zorder=0)
    ax.annotate(text, (value, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=9)
