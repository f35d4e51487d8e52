"""Figures of training: curves, paired comparisons, latencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR, axes_pair

if TYPE_CHECKING:
    from mnist_utils.evaluation.statistics import PairedEffect


def accuracy_curves(
    history: pd.DataFrame, curve: pd.DataFrame | None = None, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the accuracy during training, and at each epoch's end on training and validation images as they are.

    Parameters
    ----------
    history, curve : DataFrame
        See `training.fit.Trained`. Without `curve`, a point an epoch is drawn; without a column ``clean_accuracy`` (of runs
        that are older, or without validation), nothing on training images as they are.
    """
    during = history if curve is None else curve
    ax = _curves(history, during, "accuracy", ax)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(ylabel="accuracy", title=title or "Accuracy")
    return ax


def loss_curves(
    history: pd.DataFrame, curve: pd.DataFrame | None = None, *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the cross-entropy as `accuracy_curves` does; the loss of `history`, with label smoothing, is another quantity."""
    ax = _curves(history, curve, "loss", ax)
    ax.set(ylabel="cross-entropy (nat)", title=title or "Loss")
    return ax


def _curves(history: pd.DataFrame, during: pd.DataFrame | None, column: str, ax: Axes | None) -> Axes:
    ax = ax or plt.subplots(layout="constrained")[1]
    if during is not None:
        label = "while training"
        ax.plot(during["epoch"], during[column], ".-", color=TRAINING_COLOR, alpha=0.45, linewidth=1, label=label)
    # The two are often equal: an open circle around the square shows both.
    for part, label, colour, marker, look in (
        ("clean", "training images as they are", TRAINING_COLOR, "o", {"markersize": 9, "fillstyle": "none"}),
        ("val", "validation images", VALIDATION_COLOR, "s", {"markersize": 4}),
    ):
        if f"{part}_{column}" in history:
            ax.plot(history["epoch"], history[f"{part}_{column}"], f"{marker}-", color=colour, label=label, **look)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(history) == 1:  # matplotlib would draw ticks at fractions of an epoch
        only = history["epoch"].iloc[0]
        ax.set(xlim=(only - 1.05, only + 0.1), xticks=[only - 1, only])
    ax.grid(alpha=0.3)
    return ax


def training_curves(
    history: pd.DataFrame, curve: pd.DataFrame | None = None, *, title: str, figure: Figure | None = None
) -> Figure:
    """Draw accuracy and loss side by side, see `accuracy_curves`."""
    figure, axes = axes_pair(figure, (10, 4.4))
    accuracy_curves(history, curve, ax=axes[0])
    loss_curves(history, curve, ax=axes[1])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    return figure


def paired_values(effect: PairedEffect, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each seed's values with both variants, one line per seed.

    Parameters
    ----------
    effect : PairedEffect
        See `evaluation.statistics.paired_effect`. Accuracies are drawn in per cent, times in seconds.
    """
    ax = ax or plt.subplots(layout="constrained")[1]
    for pair in zip(effect.values_a, effect.values_b, strict=True):
        ax.plot([0, 1], pair, color="0.6", linewidth=1, zorder=1)
    for x, values, colour, marker in (0, effect.values_a, TRAINING_COLOR, "o"), (1, effect.values_b, VALIDATION_COLOR, "s"):
        ax.scatter([x] * effect.n, values, color=colour, marker=marker, zorder=2)
    ax.set_xticks([0, 1], [effect.a, effect.b])
    ax.set_xlim(-0.4, 1.4)
    if effect.is_ratio:
        ax.set_ylim(0, 1.1 * max(*effect.values_a, *effect.values_b))
    else:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    ax.set(ylabel=effect.measure.replace("_", " "), title=title or f"Each line is a {effect.pairs}")
    ax.grid(alpha=0.3, axis="y")
    return ax


def paired_interval(
    effect: PairedEffect, *, threshold: float | None = None, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw each seed's difference (or ratio), their mean with its 95 % interval, and the region where the claim holds.

    Parameters
    ----------
    effect : PairedEffect
        See `evaluation.statistics.paired_effect`.
    threshold : float, optional
        The claim holds above it. Default: no effect.
    """
    ax = ax or plt.subplots(layout="constrained")[1]
    neutral, scale = (1.0, 1.0) if effect.is_ratio else (0.0, 100.0)
    low, mean, high = (scale * value for value in (effect.interval[0], effect.mean, effect.interval[1]))
    line = neutral if threshold is None else scale * threshold
    ax.axvline(neutral, color="black", linewidth=1)
    ax.scatter([scale * value for value in effect.effects], [0.0] * effect.n, facecolors="none", edgecolors="0.4")
    ax.errorbar([mean], [1.0], xerr=[[mean - low], [high - mean]], fmt="D", color="black", capsize=5)
    ax.set_yticks([0, 1], ["each pair", "mean and\n95 % interval"])
    ax.set_ylim(-0.6, 1.6)
    left, right = min(ax.get_xlim()[0], line), max(ax.get_xlim()[1], line)
    left, right = left - 0.05 * (right - left), right + 0.18 * (right - left)  # room for the circles and the text
    ax.axvspan(line, right, color="0.92", zorder=0)
    ax.text(right, -0.55, "claim \nholds ", ha="right", va="bottom", color="0.35")
    ax.set_xlim(left, right)
    what = f"{effect.b} / {effect.a}" if effect.is_ratio else f"{effect.b} - {effect.a}, points of accuracy"
    ax.set(xlabel=what, title=title or ("Ratio" if effect.is_ratio else "Difference"))
    ax.grid(alpha=0.3, axis="x")
    return ax


def paired_comparison(
    effect: PairedEffect, *, title: str, threshold: float | None = None, figure: Figure | None = None
) -> Figure:
    """Draw a comparison of two variants: each seed's values, and the difference with its interval."""
    figure, axes = axes_pair(figure, (9, 3.2))
    paired_values(effect, ax=axes[0])
    paired_interval(effect, threshold=threshold, ax=axes[1])
    figure.suptitle(title)
    return figure


def learning_curve(trials: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the error rate against the number of training images, both logarithmic: seeds, and their mean with its interval.

    Parameters
    ----------
    trials : DataFrame
        From `experiments.learning_curve.train_sizes`. Trials without an error are not drawn, but are part of the mean.
    """
    from mnist_utils.evaluation.statistics import accuracy_interval

    ax = ax or plt.subplots(figsize=(7, 4.2), layout="constrained")[1]
    errors = 1 - trials["accuracy"]
    means = {images: accuracy_interval(own.to_numpy()) for images, own in errors.groupby(trials["images"])}
    x, (mean, low, high) = np.array(list(means)), np.array(list(means.values())).T
    positive = errors > 0
    ax.scatter(
        trials["images"][positive], errors[positive], facecolors="none", edgecolors="black", s=28, label="a seed", zorder=3
    )
    ax.errorbar(
        x, mean, [mean - low, high - mean], fmt="_-", ms=14, color=TRAINING_COLOR, capsize=4, label="mean, 95 % interval"
    )
    ax.set(xscale="log", xlabel="training images", ylabel="error rate, validation", title=title)
    ax.set_xticks(x, [f"{images:,}" for images in x])
    ax.xaxis.set_minor_locator(NullLocator())
    if positive.any():
        # An interval may reach 0, which has no place on the axis.
        lowest = min(errors[positive].min(), mean[mean > 0].min())
        ax.set(yscale="log", ylim=(lowest / 1.8, np.nanmax([errors.max(), *high]) * 1.3))
        ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper right")
    return ax


def power_curves(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the chance to see a difference in accuracy against the difference, a line for each number of test images.

    Parameters
    ----------
    table : DataFrame
        Columns n, difference, power (from `evaluation.power.mcnemar_power`), all but n from 0 to 1; at most four n.
    """
    ax = ax or plt.subplots(figsize=(7, 4), layout="constrained")[1]
    styles = (TRAINING_COLOR, "-"), (VALIDATION_COLOR, "--"), ("#009E73", "-."), ("#CC79A7", ":")
    for (n, rows), (colour, line) in zip(table.groupby("n", sort=False), styles, strict=False):
        ax.plot(100 * rows["difference"], rows["power"], color=colour, linestyle=line, linewidth=2, label=f"n = {n:,}")
    ax.axhline(0.8, color="grey", linewidth=1, zorder=0)
    ax.set(ylim=(-0.02, 1.02), xlabel="true difference in accuracy, points", ylabel="chance to see it at 5 %", title=title)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def latencies(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw latencies of predictions on a logarithmic axis (index: ways to predict; columns p50, p99 in milliseconds)."""
    ax = ax or plt.subplots(figsize=(9, 1.4 + 0.5 * len(table)), layout="constrained")[1]
    places = np.arange(len(table))
    ax.hlines(places, table["p50"], table["p99"], color="0.6", linewidth=3, zorder=1)
    for name, label, colour, marker in (
        ("p50", "median", TRAINING_COLOR, "o"),
        ("p99", "99th percentile", VALIDATION_COLOR, "s"),
    ):
        ax.scatter(table[name], places, color=colour, marker=marker, s=60, label=label, zorder=2)
    for place, milliseconds in zip(places, table["p50"], strict=True):
        ax.annotate(f"{milliseconds:.3g} ms", (milliseconds, place), xytext=(0, 8), textcoords="offset points", ha="center")
    ax.set_yticks(places, list(table.index))
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.margins(x=0.12, y=0.25)
    ax.set(xlabel="milliseconds per image", title=title)
    ax.grid(alpha=0.3, axis="x")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax
