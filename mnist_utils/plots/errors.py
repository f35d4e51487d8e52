"""Figures of errors and their explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from mnist_utils.data.classes import class_word
from mnist_utils.plots.style import (
    ERROR_COLOR,
    TRAINING_COLOR,
    VALIDATION_COLOR,
    name_ticks,
    prepare_figure,
)

if TYPE_CHECKING:
    from mnist_utils.evaluation.attribution import Attribution

_MOST_CELLS = 20  # classes whose counts can be read in the cells


def confusion_matrix(
    matrix: ArrayLike,
    *,
    normalize: bool = False,
    classes: Sequence[str] = (),
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix whose colours show the errors.

    The diagonal, a hundred times larger than the rest, is grey and not part of the colour scale.

    Parameters
    ----------
    matrix : integer array, shape (classes, classes)
        Row: true label, column: prediction.
    normalize : bool
        Show per cent of each row instead of counts.
    classes : sequence of str
        The classes' names; none for the ten digits.
    """
    counts = np.asarray(matrix)
    ax = ax or plt.subplots(figsize=(6.5, 6), layout="constrained")[1]
    values = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) if normalize else counts
    diagonal = np.eye(len(counts), dtype=bool)
    # Not seaborn's heat map, which takes 0.4 s to draw the complete figure and see whether labels overlap.
    colours = sns.light_palette(ERROR_COLOR, as_cmap=True).with_extremes(bad="#d9d9d9")
    errors = ax.imshow(
        np.ma.masked_where(diagonal, values), cmap=colours, vmin=0, vmax=max(values[~diagonal].max(), 1e-9), zorder=0
    )
    ax.figure.colorbar(
        errors,
        ax=ax,
        label=f"errors, % of the true {class_word(classes)}'s images" if normalize else "errors, images",
        shrink=0.8,
        ticks=MaxNLocator(5, integer=not normalize),
    ).outline.set_visible(False)
    size = min(10.0, 130 / len(counts))  # points; of many classes' cells, only the colours can be read
    for (row, column), value in np.ndenumerate(values if len(counts) <= _MOST_CELLS else np.zeros((0, 0))):
        ax.text(column, row, _cell(value, normalize), ha="center", va="center", fontsize=size)
    between = np.arange(len(counts) - 1) + 0.5
    ax.hlines(between, -0.5, len(counts) - 0.5, color="white", lw=0.5)
    ax.vlines(between, -0.5, len(counts) - 0.5, color="white", lw=0.5)
    sns.despine(ax=ax, left=True, bottom=True)
    ax.set(xlabel="prediction", ylabel=f"true {class_word(classes)}", title=title)
    name_ticks(ax.xaxis, classes, len(counts))
    name_ticks(ax.yaxis, classes, len(counts))
    return ax


def _cell(value: float, normalize: bool) -> str:
    if value == 0:
        return ""  # an empty cell is easier to read than a 0
    return f"{value:.1f}" if normalize else f"{value:.0f}"


def confusion_matrices(
    matrix: ArrayLike, *, classes: Sequence[str] = (), title: str, figure: Figure | None = None
) -> Figure:
    """Draw counts and row percentages, side by side; of many classes, one below the other, so that names can be read."""
    few = len(np.asarray(matrix)) <= _MOST_CELLS
    figure = prepare_figure(figure, (13, 6) if few else (11, 20))
    axes = figure.subplots(1, 2) if few else figure.subplots(2, 1)
    confusion_matrix(matrix, classes=classes, title="Images", ax=axes[0])
    title_of_shares = f"Per cent of each true {class_word(classes)}"
    confusion_matrix(matrix, normalize=True, classes=classes, title=title_of_shares, ax=axes[1])
    figure.suptitle(title)
    return figure


def confused_pairs_bars(pairs: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the most frequent errors as bars (from `evaluation.errors.confused_pairs`)."""
    ax = ax or plt.subplots(figsize=(5, 5), layout="constrained")[1]
    bars = ax.barh([f"{pair[1]} predicted as {pair[2]}" for pair in pairs.itertuples()], pairs["images"], color=ERROR_COLOR)
    ax.bar_label(bars, padding=3)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="images", title=title)
    ax.margins(x=0.1)
    sns.despine(ax=ax)
    return ax


def class_scores(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw precision, recall and F1 of each class with their intervals (`evaluation.errors.per_class_table`)."""
    ax = ax or plt.subplots(figsize=(max(9, 0.35 * len(table)), 4), layout="constrained")[1]
    places = np.arange(len(table))
    for shift, name, colour, marker in (
        (-0.22, "precision", TRAINING_COLOR, "o"),
        (0.0, "recall", VALIDATION_COLOR, "s"),
        (0.22, "f1", "black", "D"),
    ):
        ends = np.abs(table[[f"{name}_low", f"{name}_high"]].to_numpy().T - table[name].to_numpy())
        ax.errorbar(
            places + shift, table[name], ends, fmt=marker, color=colour, markersize=5, label=name.replace("f1", "F1")
        )
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    ax.set(xlabel=table.index.name, ylabel="with 95 % interval", title=title)
    name_ticks(ax.xaxis, list(map(str, table.index)), len(table))
    ax.grid(alpha=0.3, axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def attribution_rows(
    found: Sequence[Attribution], *, classes: Sequence[str] = (), title: str, figure: Figure | None = None
) -> Figure:
    """Draw a row for each explained prediction.

    From left to right: the image; each pixel's evidence for the prediction and against the other class, with its sum and the
    baselines' margin; the neighbours; the smallest change found that flips the prediction, with its L2 norm (in white
    pixels: grey levels / 255) and its range in grey levels; the image after it.

    Parameters
    ----------
    found : sequence of Attribution, at least one
    classes : sequence of str
        The classes' names; none for the ten digits.
    """

    def called(label: int) -> str:
        return classes[label] if classes else str(label)

    k = len(found[0].neighbours)
    figure = prepare_figure(figure, (1.6 * (4 + k), 1.0 + 2.05 * len(found)))
    shades: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 255}
    for axes, one in zip(figure.subplots(len(found), 4 + k, squeeze=False), found, strict=True):
        moved, flips = one.changed.astype(np.float32) - one.image, np.isfinite(one.l2_norm)
        sums = f"sum {_signed(one.evidence.sum())}, baseline {_signed(one.baseline_margin)}"
        pictures = [
            (f"{called(one.other)}\npredicted {called(one.predicted)}", one.image, shades),
            (f"for {called(one.predicted)} / {called(one.other)}, nat\n{sums}", one.evidence, _around_zero(one.evidence)),
            *(
                (f"neighbour\n{called(label)}", image, shades)
                for image, label in zip(one.neighbours, one.neighbour_labels, strict=True)
            ),
            (
                f"L2 norm {one.l2_norm:.2f}\nrange \u00b1{np.abs(moved).max():.0f} / 255" if flips else "no flip found\n",
                moved,
                _around_zero(moved),
            ),
            (f"flips to {called(one.changed_prediction)}\n" if flips else "", one.changed, shades),
        ]
        for ax, (caption, picture, how) in zip(axes, pictures, strict=True):
            ax.imshow(picture, interpolation="nearest", **how)
            ax.set_title(caption, fontsize=8)
            ax.set_axis_off()
    figure.suptitle(title)
    return figure


def _signed(value: float) -> str:
    return f"{round(value, 1) or 0.0:+.1f}"  # +0.0, never -0.0


def _around_zero(values: NDArray[Any]) -> dict[str, Any]:
    """Return colours for values above and below 0, as strong as the largest of them allows."""
    most = float(np.abs(values).max()) or 1.0
    return {"cmap": "PuOr_r", "vmin": -most, "vmax": most}


def flip_norms(norms: Mapping[str, NDArray[Any]], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw which share of the images of each group a change of a given size flips.

    Parameters
    ----------
    norms : mapping of float arrays, at most two, none empty
        Each group's L2 norms, above 0, see `evaluation.flips`; infinite where no change was found.
    """
    ax = ax or plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    for (name, values), colour, style in zip(norms.items(), (TRAINING_COLOR, VALIDATION_COLOR), ("-", "--"), strict=False):
        ordered = np.sort(values[np.isfinite(values)])
        shares = np.arange(1, len(ordered) + 1) / len(values)
        label = f"{name}, n = {len(values):,}"
        ax.step(ordered, shares, where="post", color=colour, linestyle=style, linewidth=2, label=label)
    ax.set_xscale("log")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel="L2 norm of the smallest change found, white pixels", ylabel="images flipped", title=title, ylim=(0, 1.02))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", frameon=False)
    return ax


def digit_bars(table: pd.DataFrame, *, ylabel: str, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw shares of each class as bars side by side (index: classes; one column per series, at most three; 0 to 1)."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    width = 0.8 / table.shape[1]
    styles = zip((TRAINING_COLOR, VALIDATION_COLOR, "#009E73"), ("", "//", ".."), table.items(), strict=False)
    for i, (colour, hatch, (name, values)) in enumerate(styles):
        left = np.arange(len(table)) + (i - (table.shape[1] - 1) / 2) * width
        ax.bar(left, values, width, label=str(name), color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel=table.index.name or "digit", ylabel=ylabel, title=title)
    name_ticks(ax.xaxis, list(map(str, table.index)), len(table))
    ax.grid(alpha=0.3, axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=3, frameon=False)
    return ax
