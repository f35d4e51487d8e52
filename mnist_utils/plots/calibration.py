"""Figures of confidence and calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, PercentFormatter
from numpy.typing import ArrayLike

from mnist_utils.plots.style import HIGHEST_THRESHOLD, TRAINING_COLOR, VALIDATION_COLOR, axes_pair

if TYPE_CHECKING:
    from mnist_utils.evaluation.calibration import ReliabilityBins
    from mnist_utils.evaluation.errors import SelectivePrediction


def reliability_diagram(found: ReliabilityBins, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw accuracy against confidence, bin by bin, with 95 % intervals and the number of images in each bin."""
    from mnist_utils.evaluation.statistics import wilson_interval

    ax = ax or plt.subplots(figsize=(6, 6), layout="constrained")[1]
    ax.plot([0, 1], [0, 1], color="grey", linestyle="--", label="calibrated")
    filled = found.n > 0
    n, confidence, accuracy = found.n[filled], found.confidence[filled], found.accuracy[filled]
    intervals = np.array(
        [wilson_interval(round(share * total), int(total)) for share, total in zip(accuracy, n, strict=True)]
    )
    ends = np.abs(intervals.T - accuracy)
    ax.errorbar(confidence, accuracy, ends, fmt="o", color=TRAINING_COLOR, capsize=3, label="this model")
    for x, total in zip(confidence, n, strict=True):
        ax.annotate(f"{total:,}", (x, -0.04), rotation=90, ha="center", va="top", fontsize=8, annotation_clip=False)
    ax.annotate("images", (-0.03, -0.04), rotation=90, ha="center", va="top", fontsize=8)
    for axis in ax.xaxis, ax.yaxis:
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlim=(-0.06, 1.04), ylim=(-0.24, 1.04), yticks=np.linspace(0, 1, 6))
    ax.set(xlabel="confidence (probability of the prediction)", ylabel="accuracy", title=title)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.19))  # where only confident and incorrect predictions would be
    return ax


def reliability_before_after(
    before: ReliabilityBins, after: ReliabilityBins, *, title: str, figure: Figure | None = None
) -> Figure:
    """Draw two reliability diagrams side by side: before and after temperature scaling."""
    figure, axes = axes_pair(figure, (11, 5.8))
    reliability_diagram(before, title="Before temperature scaling", ax=axes[0])
    reliability_diagram(after, title="After temperature scaling", ax=axes[1])
    figure.suptitle(title)
    return figure


def risk_coverage_curve(
    curve: pd.DataFrame, chosen: SelectivePrediction, *, goal: float, title: str, figure: Figure | None = None
) -> Figure:
    """Draw selective prediction: accuracy and coverage against the threshold, and risk against the deferred share.

    Parameters
    ----------
    curve : DataFrame
        From `evaluation.errors.risk_coverage`.
    chosen : SelectivePrediction
        The result with the threshold that was chosen for `goal`.
    goal : float, 0 to 1
        Wanted accuracy of the predictions.
    """
    figure, (left, right) = axes_pair(figure, (11, 4.6))
    inside = curve[curve["threshold"] < HIGHEST_THRESHOLD]
    left.plot(inside["threshold"], 1 - inside["risk"], color=TRAINING_COLOR, label="accuracy of the predictions")
    left.plot(inside["threshold"], inside["coverage"], color=VALIDATION_COLOR, linestyle="-.", label="coverage")
    left.set_xscale("logit")  # useful thresholds are 0.9, 0.99, 0.999
    left.set_xticks(ticks := [0.5, 0.9, 0.99, 0.999, HIGHEST_THRESHOLD], [f"{tick:g}" for tick in ticks])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set(
        xlabel="confidence threshold",
        ylabel="share of images",
        xlim=(min(0.3, inside["threshold"].min()), HIGHEST_THRESHOLD),
    )
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.plot(1 - curve["coverage"], curve["risk"], color=TRAINING_COLOR, drawstyle="steps-pre")
    right.axhline(1 - goal, color="grey", linestyle=":", label=f"goal: {1 - goal:.2%} incorrect")
    right.set(xlabel="deferred to a person", ylabel="risk (incorrect among the predictions)")
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    if chosen.predicted:
        point = {"color": "black", "marker": "D", "linestyle": "", "label": "threshold chosen on validation images"}
        left.plot([min(chosen.threshold, HIGHEST_THRESHOLD)], [chosen.accuracy], **point)
        right.plot([chosen.deferred], [1 - chosen.accuracy], **point)
        right.set_xlim(-0.01, max(0.1, min(1.0, 3 * chosen.deferred)))
    for ax in left, right:
        ax.grid(alpha=0.3)
        ax.legend(fontsize=9)
    figure.suptitle(title)
    return figure


def coverage_of_sets(table: pd.DataFrame, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw prediction sets: their coverage against the nominal one, and their mean size.

    Parameters
    ----------
    table : DataFrame
        From `evaluation.conformal.coverage_table`; levels from low to high. A coverage of 100 % is drawn at the edge.
    """
    figure, (left, right) = axes_pair(figure, (10, 4))
    nominal = table["nominal"].to_numpy()
    edge = 1 - (1 - nominal.max()) / 4  # on a logit scale, 100 % is infinitely far
    coverage, low, high = table[["coverage", "low", "high"]].clip(0.01, edge).to_numpy().T
    left.plot(nominal, nominal, color="grey", linestyle="--", label="nominal")
    ends = np.stack([coverage - low, high - coverage])
    left.errorbar(nominal, coverage, ends, fmt="o", color=TRAINING_COLOR, capsize=3, label="with 95 % interval")
    right.axhline(1, color="grey", linestyle="--")
    right.plot(nominal, table["mean_size"], "o-", color=TRAINING_COLOR)
    names = [f"{level:.4%}".rstrip("0%").rstrip(".") for level in nominal]
    for ax in left, right:
        ax.set_xscale("logit")
        ax.set_xticks(nominal, names)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("nominal coverage, %")
        ax.grid(alpha=0.3)
    left.set_yscale("logit")
    left.set_yticks(nominal, names)
    left.yaxis.set_minor_locator(NullLocator())
    left.set(ylabel="coverage, %", title="Sets that contain the true class")
    left.legend(loc="upper left")
    right.set(ylabel="classes in a set (mean)", title="Size of the sets")
    figure.suptitle(title)
    return figure


def confidence_histogram(confidence: ArrayLike, correct: ArrayLike, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the confidence of correct and incorrect predictions, stacked, in twenty bins.

    Parameters
    ----------
    confidence : float array, shape (n,), 0 to 1
    correct : bool array, shape (n,)
    """
    ax = ax or plt.subplots(figsize=(6, 4), layout="constrained")[1]
    confidence, correct = np.asarray(confidence), np.asarray(correct, bool)
    parts = [confidence[~correct], confidence[correct]]
    labels = [f"incorrect ({len(parts[0]):,})", f"correct ({len(parts[1]):,})"]
    ax.hist(
        parts, bins=20, range=(0, 1), stacked=True, color=[VALIDATION_COLOR, TRAINING_COLOR], label=labels, edgecolor="white"
    )
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel="confidence (probability of the prediction)", ylabel="images", title=title)
    ax.legend(loc="upper left")
    sns.despine(ax=ax)
    return ax
