"""Figures of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from mnist_utils.data.classes import class_word
from mnist_utils.plots.style import (
    DIGIT_COLORS,
    PART_COLORS,
    TRAINING_COLOR,
    VALIDATION_COLOR,
    axes_pair,
    name_ticks,
    prepare_figure,
)

_MOST_ACROSS = 12  # classes beside each other


def class_balance(counts: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each class's share of each part.

    Parameters
    ----------
    counts : DataFrame of integers
        A row per class, a column per part: training, validation, test.
    """
    ax = ax or plt.subplots(figsize=(9, 3.6), layout="constrained")[1]
    shares = 100 * counts / counts.sum()
    word = str(counts.index.name)
    shares.plot.bar(ax=ax, color=[PART_COLORS[str(part)] for part in shares], width=0.8, rot=0)
    ax.axhline(100 / len(counts), color="black", linewidth=1, linestyle="--", label=f"every {word} equally frequent")
    name_ticks(ax.xaxis, list(map(str, counts.index)), len(counts))
    ax.set(xlabel=word, ylabel="% of the part's images", title=title)
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    return ax


def class_means(
    means: NDArray[Any],
    stds: NDArray[Any],
    *,
    classes: Sequence[str] = (),
    title: str,
    figure: Figure | None = None,
) -> Figure:
    """Draw each class's mean image above the standard deviation of its pixels (shapes (classes, 28, 28), grey levels)."""
    across = min(len(means), _MOST_ACROSS)
    bands = -(-len(means) // across)
    figure = prepare_figure(figure, (across, 2.5 * bands))
    axes = figure.subplots(2 * bands, across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, (images, colours, name) in enumerate(((means, "gray", "mean"), (stds, "viridis", "standard\ndeviation"))):
        for label, image in enumerate(images):
            ax = axes[2 * (label // across) + row, label % across]
            ax.set_axis_on()
            drawn = ax.imshow(image, cmap=colours, vmin=0, vmax=255 if row == 0 else 128)
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(classes[label] if classes else str(label), fontsize=9 if classes else None)
        for band in range(bands):
            axes[2 * band + row, 0].set_ylabel(name)
            figure.colorbar(drawn, ax=axes[2 * band + row], label="grey level", aspect=8)
    figure.suptitle(title)
    return figure


def pixel_use(levels: NDArray[Any], used: NDArray[Any], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw how often each grey level occurs, and how often each pixel contains ink.

    Parameters
    ----------
    levels : integer array, shape (256,)
        Pixels with each grey level.
    used : float array, shape (28, 28)
        Share of images, 0 to 1, in which a pixel is not 0; a cross marks 0.
    """
    figure, (left, right) = axes_pair(figure, (10, 4))
    left.bar(
        np.arange(0, 256, 8), 100 * levels.reshape(32, 8).sum(axis=1) / levels.sum(), 8, align="edge", color=TRAINING_COLOR
    )
    left.set(yscale="log", xlabel="grey level, 8 per bar", ylabel="% of all pixels (logarithmic)", title="Grey levels")
    drawn = right.imshow(100 * used, cmap="viridis", vmin=0, vmax=100)
    never = np.argwhere(used == 0)
    right.plot(never[:, 1], never[:, 0], "x", color="white", markersize=5)
    right.set(xticks=[0, 4, 14, 23, 27], yticks=[0, 4, 14, 23, 27], title="Where ink occurs (x: never)")
    figure.colorbar(drawn, ax=right, label="% of images with ink here")
    figure.suptitle(title)
    return figure


def values_by_digit(
    values: ArrayLike, labels: ArrayLike, *, name: str, classes: Sequence[str] = (), title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the distribution of a measured value for each digit, or each of other `classes`.

    A box spans the middle half, its line is the median, and the whiskers span all but the outermost 1 % on each side.
    """
    ax = ax or plt.subplots(figsize=(9, 3.6), layout="constrained")[1]
    values, labels = np.asarray(values), np.asarray(labels)
    valid = ~np.isnan(values)
    present = np.unique(labels)
    ax.boxplot(  # not seaborn's, which passes an argument that matplotlib 3.11 warns of
        [values[valid & (labels == label)] for label in present],
        positions=range(len(present)),
        whis=(1, 99),
        widths=0.7,
        patch_artist=True,
        boxprops={"facecolor": "#9ecae1"},
        medianprops={"color": "black", "linewidth": 1.5},
        flierprops={"marker": ".", "markersize": 3},
    )
    name_ticks(ax.xaxis, [classes[label] if classes else str(label) for label in present], len(present))
    ax.axhline(float(np.nanmedian(values)), color=VALIDATION_COLOR, linewidth=1, linestyle="--", label="median of all")
    ax.set(xlabel=class_word(classes), ylabel=name, title=title)
    ax.legend(loc="upper right")
    return ax


def nearest_distances(distances: Mapping[str, NDArray[Any]], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the cumulative distribution of the distances to the nearest training image, for each part."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    styles = ("-", "--", ":")
    for (name, values), style in zip(distances.items(), styles, strict=False):
        ax.ecdf(values, label=f"{name}, {len(values):,} images", color=PART_COLORS[name], linestyle=style, linewidth=2)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(
        xlabel="distance to the nearest other training image",
        ylabel="images with at most this distance",
        title=title,
        xlim=(0, None),
    )
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", frameon=False)
    return ax


def digit_map(
    points: NDArray[Any],
    labels: NDArray[Any],
    *,
    classes: Sequence[str] = (),
    incorrect: NDArray[np.bool_] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw images as points in the plane, each as its digit; a large name marks the median of each class.

    Parameters
    ----------
    points : float array, shape (n, 2)
    labels : integer array, shape (n,)
    classes : sequence of str
        The classes' names; none for the ten digits. Points of a class with a long name are dots.
    incorrect : bool array, shape (n,), optional
        Points to mark with a ring: those that a model predicts incorrectly.
    """
    ax = ax or plt.subplots(figsize=(8, 7), layout="constrained")[1]
    digits = np.unique(labels)
    names = {label: classes[label] if classes else str(label) for label in digits}
    colours = DIGIT_COLORS if digits.max() < len(DIGIT_COLORS) else sns.husl_palette(int(digits.max()) + 1, l=0.5)
    for digit in digits:
        own, marker = (
            points[labels == digit],
            f"${names[digit]}$" if names[digit].isalnum() and len(names[digit]) < 3 else ".",
        )
        ax.scatter(own[:, 0], own[:, 1], s=22, marker=marker, color=colours[digit], linewidths=0.3)
    if incorrect is not None:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.5}
        x, y = points[incorrect].T
        ax.scatter(x, y, s=110, label="predicted incorrectly", **ring)
        ax.legend(loc="upper right")
    middles = np.array([np.median(points[labels == digit], axis=0) for digit in digits])
    for digit, (x, y) in zip(digits, _apart(middles, 0.05 * np.ptp(points, axis=0)), strict=True):
        text = ax.text(
            x,
            y,
            names[digit],
            fontsize=22 if max(map(len, names.values())) < 3 else 12,
            fontweight="bold",
            ha="center",
            va="center",
        )
        text.set_path_effects([withStroke(linewidth=4, foreground="white")])
    ax.set(xticks=[], yticks=[], title=title)
    return ax


def _apart(places: NDArray[Any], size: NDArray[Any]) -> NDArray[Any]:
    """Move places apart in small steps until none is within `size` (shape (2,)) of another."""
    places = places / size
    for _ in range(200):
        between = places[:, None] - places[None]
        far = np.maximum(np.linalg.norm(between, axis=2, keepdims=True), 1e-9)
        push = np.where(far < 1, between / far * (1 - far) / 2, 0)
        if not push.any():
            break
        places = places + push.sum(axis=1)
    return places * size
