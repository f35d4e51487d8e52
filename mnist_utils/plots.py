"""Figures. Each function takes `ax=None`, draws, and returns the Axes it drew on; computing is done elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from mnist_utils.ablations import Effect
    from mnist_utils.images import Reading

_TRAINING, _VALIDATION = "#0072B2", "#D55E00"  # blue and vermilion: told apart by every common colour vision
_ERROR = "#F28E2B"  # light enough for black numbers at its strongest


def accuracy_curves(history: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw training and validation accuracy per epoch (columns epoch, accuracy, val_accuracy of `history`)."""
    ax = _curves(history, "accuracy", ax)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(ylabel="accuracy", title=title or "Accuracy")
    return ax


def loss_curves(history: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw training and validation loss per epoch (columns epoch, loss, val_loss of `history`)."""
    ax = _curves(history, "loss", ax)
    ax.set(ylabel="cross-entropy (nat)", title=title or "Loss")
    return ax


def _curves(history: pd.DataFrame, column: str, ax: Axes | None) -> Axes:
    ax = ax or plt.subplots(layout="constrained")[1]
    for name, label, colour, marker in (
        (column, "training", _TRAINING, "o"),
        (f"val_{column}", "validation", _VALIDATION, "s"),
    ):
        sns.lineplot(history, x="epoch", y=name, label=label, color=colour, marker=marker, ax=ax)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    return ax


def training_curves(history: pd.DataFrame, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw accuracy and loss side by side."""
    figure, axes = _pair(figure, (10, 4))
    accuracy_curves(history, ax=axes[0])
    loss_curves(history, ax=axes[1])
    figure.suptitle(title)
    return figure


def paired_values(effect: Effect, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw what each seed gave with one variant and with the other, a line a seed.

    Parameters
    ----------
    effect : Effect
        See `ablations.compare`. Accuracies are drawn in per cent, times in seconds.
    """
    ax = ax or plt.subplots(layout="constrained")[1]
    for pair in zip(effect.values_a, effect.values_b, strict=True):
        ax.plot([0, 1], pair, color="0.6", linewidth=1, zorder=1)
    for x, values, colour, marker in (0, effect.values_a, _TRAINING, "o"), (1, effect.values_b, _VALIDATION, "s"):
        ax.scatter([x] * effect.n, values, color=colour, marker=marker, zorder=2)
    ax.set_xticks([0, 1], [effect.a, effect.b])
    ax.set_xlim(-0.4, 1.4)
    if effect.is_ratio:
        ax.set_ylim(bottom=0)
    else:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    ax.set(ylabel="seconds" if effect.is_ratio else "accuracy", title=title or f"Each line is a {effect.pairs}")
    ax.grid(alpha=0.3, axis="y")
    return ax


def paired_interval(effect: Effect, *, threshold: float | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each seed's difference (or ratio), their mean with its 95 % interval, and the line that the claim is about.

    Parameters
    ----------
    effect : Effect
        See `ablations.compare`.
    threshold : float, optional
        Where the claim begins to hold. Default: no effect.
    """
    ax = ax or plt.subplots(layout="constrained")[1]
    neutral, scale = (1.0, 1.0) if effect.is_ratio else (0.0, 100.0)
    low, mean, high = (scale * value for value in (effect.interval[0], effect.mean, effect.interval[1]))
    ax.axvline(neutral, color="black", linewidth=1)
    if threshold is not None:
        ax.axvline(scale * threshold, color="black", linewidth=1, linestyle="--")
    ax.scatter(
        [scale * value for value in effect.effects],
        [0.0] * effect.n,
        facecolors="none",
        edgecolors="0.4",
        label=f"one {effect.pairs}",
    )
    ax.errorbar(
        [mean], [1.0], xerr=[[mean - low], [high - mean]], fmt="D", color="black", capsize=5, label="mean, 95 % interval"
    )
    ax.set_yticks([0, 1], ["each pair", "mean and\n95 % interval"])
    ax.set_ylim(-0.6, 1.6)
    what = f"{effect.b} / {effect.a}" if effect.is_ratio else f"{effect.b} - {effect.a}, points of accuracy"
    ax.set(xlabel=what, title=title or ("Ratio" if effect.is_ratio else "Difference"))
    ax.grid(alpha=0.3, axis="x")
    return ax


def paired_effect(effect: Effect, *, title: str, threshold: float | None = None, figure: Figure | None = None) -> Figure:
    """Draw a comparison of two variants: what each seed gave, and the difference with its interval."""
    figure, axes = _pair(figure, (9, 3.2))
    paired_values(effect, ax=axes[0])
    paired_interval(effect, threshold=threshold, ax=axes[1])
    figure.suptitle(title)
    return figure


def confusion_matrix(matrix: ArrayLike, *, normalize: bool = False, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix whose colours show the errors.

    The diagonal, a hundred times larger than the rest, is printed on grey and left out of the colour scale.

    Parameters
    ----------
    matrix : integer array, shape (10, 10)
        Row: true label, column: answer.
    normalize : bool
        Show each row as per cent of its true label in place of counts.
    """
    counts = np.asarray(matrix)
    ax = ax or plt.subplots(figsize=(6.5, 6), layout="constrained")[1]
    values = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) if normalize else counts
    diagonal = np.eye(len(counts), dtype=bool)
    shown = np.vectorize(lambda value: _cell(value, normalize))(values)
    common: dict[str, Any] = {"fmt": "", "square": True, "linewidths": 0.5, "linecolor": "white", "ax": ax}
    sns.heatmap(values, mask=~diagonal, annot=shown, cmap=ListedColormap(["#d9d9d9"]), cbar=False, **common)
    sns.heatmap(
        values,
        mask=diagonal,
        annot=shown,
        annot_kws={"color": "black"},
        cmap=sns.light_palette(_ERROR, as_cmap=True),
        vmin=0,
        vmax=max(values[~diagonal].max(), 1e-9),
        cbar_kws={
            "label": "errors, % of the true digit's images" if normalize else "errors, images",
            "shrink": 0.8,
            "ticks": MaxNLocator(5, integer=not normalize),
        },
        **common,
    )
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="answer", ylabel="true digit", title=title)
    return ax


def _cell(value: float, normalize: bool) -> str:
    if value == 0:
        return ""  # an empty cell is read faster than a 0
    return f"{value:.1f}" if normalize else f"{value:.0f}"


def confusion_matrices(matrix: ArrayLike, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw counts and row percentages side by side."""
    figure, axes = _pair(figure, (13, 6))
    confusion_matrix(matrix, title="Images", ax=axes[0])
    confusion_matrix(matrix, normalize=True, title="Per cent of each true digit", ax=axes[1])
    figure.suptitle(title)
    return figure


def reading_steps(reading: Reading, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw how a picture became a network's input, step by step, the last step being what the network sees."""
    figure = figure or plt.figure()
    steps = {**reading.steps, "as the network sees it": reading.image / 255}
    figure.set_size_inches(2.6 * len(steps), 3.2)
    figure.set_layout_engine("constrained")
    for ax, (name, image) in zip(figure.subplots(1, len(steps)), steps.items(), strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=name, xticks=[], yticks=[])
        ax.set_xlabel(f"{image.shape[1]} x {image.shape[0]}")
    figure.suptitle(title)
    return figure


def _pair(figure: Figure | None, size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = figure or plt.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained")
    return figure, figure.subplots(1, 2)
