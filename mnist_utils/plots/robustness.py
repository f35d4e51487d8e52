"""Figures of a model on images unlike its training images: corruptions, severities, confidence, attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import PercentFormatter

from mnist_utils._support.arrays import Images
from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR, prepare_figure

if TYPE_CHECKING:
    from mnist_utils.evaluation.robustness import Robustness

_SHOWN = 5  # samples in a row
_ROW, _SAMPLE = 0.38, 24.0  # a row's height in inches, a sample's in points
_GROUPS = ("#666666", "D"), (TRAINING_COLOR, "o"), (VALIDATION_COLOR, "s"), ("#CC79A7", "^"), ("#009E73", "v")
_MODELS = (TRAINING_COLOR, "o", "-"), (VALIDATION_COLOR, "s", "--")
_COLUMNS = 5  # of panels


def robustness_dots(found: Robustness, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw a row for each corruption and data set: its name, samples, and the accuracy as a dot with its interval.

    The axis begins below the lowest interval; the dashed line is the accuracy on clean images. Within each group, the
    highest accuracy is on top.
    """
    groups = list(dict.fromkeys(found.table["group"]))
    order = np.lexsort((-found.table["accuracy"], found.table["group"].map(groups.index)))
    table = found.table.iloc[order]
    figure = prepare_figure(figure, (8.5, 1.5 + _ROW * len(table)))
    ax = figure.subplots()
    for place, row in enumerate(found.samples[order, :_SHOWN]):
        strip = OffsetImage(_side_by_side(row), zoom=_SAMPLE / 28, cmap="gray", norm=Normalize(0, 255), resample=False)
        ax.add_artist(
            AnnotationBbox(
                strip, (0, place), (-4, 0), ("axes fraction", "data"), "offset points", box_alignment=(1, 0.5), pad=0,
                frameon=False,
            )
        )  # fmt: skip
    places, clean = np.arange(len(table)), float(table["accuracy"].iloc[0])
    ax.axvline(clean, color="grey", linestyle="--", linewidth=1, zorder=0)
    for (colour, marker), group in zip(_GROUPS, groups, strict=False):
        of = (table["group"] == group).to_numpy()
        shares = table.loc[of, "accuracy"].to_numpy()
        ends = np.abs(table.loc[of, ["low", "high"]].to_numpy().T - shares)
        ax.errorbar(shares, places[of], xerr=ends, fmt=marker, color=colour, capsize=3, label=group)
    for place, share in enumerate(table["accuracy"]):
        ax.annotate(f"{share:.1%}", (1, place), (5, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=9)
    strip_width = _SAMPLE / 28 * (_side_by_side(found.samples[0, :_SHOWN]).shape[1])
    ax.set_yticks(places, [str(name).replace("_", " ") for name in table.index])
    ax.tick_params(axis="y", length=0, pad=strip_width + 10)
    lowest = float(table["low"].min())
    margin = 0.03 * (1 - lowest)
    ax.set(xlim=(lowest - margin, 1 + margin), ylim=(len(table) - 0.5, -0.5))
    ax.set(xlabel="accuracy with 95 % interval; dashed: clean images")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3, axis="x")
    sns.despine(ax=ax, left=True)
    figure.legend(loc="outside lower center", ncols=len(groups), frameon=False)
    figure.suptitle(title)
    return figure


def _side_by_side(images: Images) -> Images:
    """Put images of shape (n, 28, 28) into one row, with white between them."""
    return np.pad(images, ((0, 0), (0, 0), (0, 2)), constant_values=255).swapaxes(0, 1).reshape(28, -1)[:, :-2]


def severity_curves(tables: Mapping[str, pd.DataFrame], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw a panel for each corruption: the accuracy against its severity, a line with a 95 % band for each model.

    Parameters
    ----------
    tables : mapping of DataFrames
        From `evaluation.robustness.measure_severities`, by the model's name; at most two.
    """
    changes = list(dict.fromkeys(next(iter(tables.values()))["change"]))
    rows = -(-len(changes) // _COLUMNS)
    figure = prepare_figure(figure, (9, 1.4 + 1.9 * rows))
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for panel, change in zip(panels.flat, changes, strict=False):
        for (name, table), (colour, marker, line) in zip(tables.items(), _MODELS, strict=False):
            own = table[table["change"] == change]
            panel.plot(own["severity"], own["accuracy"], line, marker=marker, markersize=4, color=colour, label=name)
            panel.fill_between(own["severity"], own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
        panel.set_title(change.replace("_", " "), fontsize=10)
        panel.set(ylim=(-0.03, 1.03), xticks=range(6))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(changes) :]:
        panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy")
    panels[-1, _COLUMNS // 2].set_xlabel("severity (0: clean)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return figure


def confidence_and_accuracy(
    tables: Mapping[str, pd.DataFrame], *, named: int = 3, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw a dot for each corruption: the accuracy against the mean confidence, which are equal on the diagonal.

    Parameters
    ----------
    tables : mapping of DataFrames
        The `table` of each model's `evaluation.robustness.Robustness`, by the model's name; at most two.
    named : int
        Dots of each model that get their name: those furthest from the diagonal.
    """
    ax = ax or plt.subplots(figsize=(6.5, 6), layout="constrained")[1]
    lowest = min(float(table[["confidence", "accuracy"]].to_numpy().min()) for table in tables.values())
    start = min(0.9, max(0.0, np.floor(10 * lowest) / 10))
    ax.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="calibrated", zorder=0)
    for (name, table), (colour, marker, _) in zip(tables.items(), _MODELS, strict=False):
        ax.plot(table["confidence"], table["accuracy"], marker, color=colour, alpha=0.8, label=name)
        furthest = (table["confidence"] - table["accuracy"]).abs().nlargest(named).index
        for change, confidence, accuracy in table.loc[furthest, ["confidence", "accuracy"]].itertuples():
            text = str(change).replace("_", " ")
            end = confidence + (1 - start) * (0.02 + 0.015 * len(text))
            right = accuracy < confidence and end < 1.01  # away from the diagonal, where it fits
            ax.annotate(
                text, (confidence, accuracy), (7 if right else -7, 0), textcoords="offset points",
                ha="left" if right else "right", va="center", fontsize=9, color=colour,
            )  # fmt: skip
    ax.set(xlim=(start - 0.01, 1.01), ylim=(start - 0.01, 1.01), aspect="equal", title=title)
    ax.set(xlabel="mean confidence (right of the diagonal: too sure)", ylabel="accuracy")
    for axis in ax.xaxis, ax.yaxis:
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    return ax
