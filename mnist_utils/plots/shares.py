"""Figures that compare models under several conditions: accuracies with intervals, curves over contrast, logits."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR, axes_pair, name_ticks, prepare_figure

# For at most four series: colours that differ in all common forms of colour vision, and markers that differ without colour.
_STYLES = ((TRAINING_COLOR, "o", "-"), (VALIDATION_COLOR, "s", "--"), ("#009E73", "D", "-."), ("black", "^", ":"))


def share_dots(table: pd.DataFrame, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw shares with their intervals as dots: panels side by side, a row for each condition, a mark for each series.

    Parameters
    ----------
    table : DataFrame
        Index of three levels: panel, condition, series (at most four); columns share, low, high, 0 to 1.
    """
    panels, conditions, series = (list(table.index.unique(level)) for level in range(3))
    figure = prepare_figure(figure, (9, 1.6 + 0.5 * len(conditions)))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    places = np.arange(len(conditions))
    for ax, panel in zip(axes, panels, strict=True):
        for i, (name, (colour, marker, _)) in enumerate(zip(series, _STYLES, strict=False)):
            of = table.xs((panel, name), level=(0, 2)).loc[conditions]
            ends = np.abs(of[["low", "high"]].to_numpy().T - of["share"].to_numpy())
            shift = 0.25 * (i - (len(series) - 1) / 2)
            ax.errorbar(of["share"], places + shift, xerr=ends, fmt=marker, color=colour, markersize=5, label=name)
        for place in places[1::2]:
            ax.axhspan(place - 0.5, place + 0.5, color="0.94", zorder=0)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set(xlim=(-0.03, 1.03), xticks=np.linspace(0, 1, 6), title=panel)
        ax.set_yticks(places, conditions)
        ax.grid(alpha=0.3, axis="x")
    axes[0].set_ylim(len(conditions) - 0.5, -0.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(series), frameon=False)
    figure.suptitle(title)
    return figure


def contrast_curves(table: pd.DataFrame, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw accuracy, with its interval, and mean confidence against contrast.

    Parameters
    ----------
    table : DataFrame
        Columns series (at most four), contrast (-1 to 1), accuracy, low, high and confidence, 0 to 1. A confidence of NaN is
        not drawn.
    """
    figure, (left, right) = axes_pair(figure, (10, 4.4))
    for (name, of), (colour, marker, line) in zip(table.groupby("series", sort=False), _STYLES, strict=False):
        look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        left.plot(of["contrast"], of["accuracy"], label=str(name), **look)
        left.fill_between(of["contrast"], of["low"], of["high"], color=colour, alpha=0.15, linewidth=0)
        right.plot(of["contrast"], of["confidence"], **look)
    for ax, label in (left, "accuracy, with 95 % interval"), (right, "mean confidence"):
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set(xlim=(1.05, -1.05), ylim=(-0.03, 1.03), xticks=np.linspace(1, -1, 5), ylabel=label)
        ax.set_xlabel("contrast (1: upright, 0: one grey, -1: inverted)")
        ax.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return figure


def class_logits(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the logits of each class as dots (index: classes, named as they are called; a column for each series)."""
    ax = ax or plt.subplots(figsize=(9, 3.4), layout="constrained")[1]
    for (name, values), (colour, marker, _) in zip(table.items(), _STYLES, strict=False):
        ax.plot(np.arange(len(table)), values, marker, color=colour, label=str(name))
    ax.axhline(0, color="grey", linewidth=1, zorder=0)
    outside = 0.4 + 0.05 * (len(table) - 0.2)  # so that classes stand above those of `digit_bars`
    ax.set_xlim(-outside, len(table) - 1 + outside)
    ax.set(xlabel=table.index.name, ylabel="logit less its mean, nat", title=title)
    name_ticks(ax.xaxis, list(map(str, table.index)), len(table))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=len(table.columns), frameon=False)
    return ax
