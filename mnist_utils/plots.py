"""Figures. Each function takes `ax=None`, draws, and returns the Axes it drew on; computing is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from mnist_utils.ablations import Effect
    from mnist_utils.error_analysis import Answered
    from mnist_utils.evaluation import Reliability
    from mnist_utils.explain import Explanation
    from mnist_utils.images import Reading
    from mnist_utils.robustness import Robustness

_TRAINING, _VALIDATION = "#0072B2", "#D55E00"  # blue and vermilion: told apart by every common colour vision
_SURE = 0.9999  # where a curve over confidence thresholds ends
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
    if len(history) == 1:  # matplotlib would count the epochs in hundredths
        only = history["epoch"].iloc[0]
        ax.set(xlim=(only - 0.5, only + 0.5), xticks=[only])
        ax.margins(y=0.2)
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
        ax.set_ylim(0, 1.1 * max(*effect.values_a, *effect.values_b))
    else:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    ax.set(ylabel=effect.measure.replace("_", " "), title=title or f"Each line is a {effect.pairs}")
    ax.grid(alpha=0.3, axis="y")
    return ax


def paired_interval(effect: Effect, *, threshold: float | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each seed's difference (or ratio), their mean with its 95 % interval, and the side on which the claim holds.

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
    line = neutral if threshold is None else scale * threshold
    ax.axvline(neutral, color="black", linewidth=1)
    ax.scatter([scale * value for value in effect.effects], [0.0] * effect.n, facecolors="none", edgecolors="0.4")
    ax.errorbar([mean], [1.0], xerr=[[mean - low], [high - mean]], fmt="D", color="black", capsize=5)
    ax.set_yticks([0, 1], ["each pair", "mean and\n95 % interval"])
    ax.set_ylim(-0.6, 1.6)
    left, right = min(ax.get_xlim()[0], line), max(ax.get_xlim()[1], line)
    left, right = left - 0.05 * (right - left), right + 0.18 * (right - left)  # room for circles, and for the words
    ax.axvspan(line, right, color="0.92", zorder=0)
    ax.text(right, -0.55, "claim \nholds ", ha="right", va="bottom", color="0.35")
    ax.set_xlim(left, right)
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
    # Not seaborn's heat map, which draws the whole figure each time to see whether its labels overlap: 0.4 s.
    colours = sns.light_palette(_ERROR, as_cmap=True).with_extremes(bad="#d9d9d9")
    errors = ax.imshow(
        np.ma.masked_where(diagonal, values), cmap=colours, vmin=0, vmax=max(values[~diagonal].max(), 1e-9), zorder=0
    )
    ax.figure.colorbar(
        errors,
        ax=ax,
        label="errors, % of the true digit's images" if normalize else "errors, images",
        shrink=0.8,
        ticks=MaxNLocator(5, integer=not normalize),
    ).outline.set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, _cell(value, normalize), ha="center", va="center")
    between = np.arange(len(counts) - 1) + 0.5
    ax.hlines(between, -0.5, len(counts) - 0.5, color="white", lw=0.5)
    ax.vlines(between, -0.5, len(counts) - 0.5, color="white", lw=0.5)
    sns.despine(ax=ax, left=True, bottom=True)
    ax.set(xlabel="answer", ylabel="true digit", title=title, xticks=range(len(counts)), yticks=range(len(counts)))
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


def confused_pairs(pairs: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the most frequent errors as bars (columns digit, answer, images of `error_analysis.confused_pairs`)."""
    ax = ax or plt.subplots(figsize=(5, 5), layout="constrained")[1]
    bars = ax.barh([f"{pair.digit} taken for {pair.answer}" for pair in pairs.itertuples()], pairs["images"], color=_ERROR)
    ax.bar_label(bars, padding=3)
    ax.invert_yaxis()
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="images", title=title)
    ax.margins(x=0.1)
    sns.despine(ax=ax)
    return ax


def class_scores(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw precision, recall and F1 of each digit with their intervals (`error_analysis.per_class`)."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    for shift, name, colour, marker in (
        (-0.22, "precision", _TRAINING, "o"),
        (0.0, "recall", _VALIDATION, "s"),
        (0.22, "f1", "black", "D"),
    ):
        ends = np.abs(table[[f"{name}_low", f"{name}_high"]].to_numpy().T - table[name].to_numpy())
        ax.errorbar(
            table.index + shift, table[name], ends, fmt=marker, color=colour, markersize=5, label=name.replace("f1", "F1")
        )
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    ax.set(xticks=table.index, xlabel="digit", ylabel="with 95 % interval", title=title)
    ax.grid(alpha=0.3, axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def image_grid(
    images: ArrayLike, captions: Sequence[str], *, title: str, columns: int = 8, figure: Figure | None = None
) -> Figure:
    """Draw 28x28 images with a caption above each."""
    figure = figure or plt.figure()
    rows = max(1, -(-len(captions) // columns))
    figure.set_size_inches(1.25 * columns, 0.9 + 1.65 * rows)
    figure.set_layout_engine("constrained")
    for ax in (axes := figure.subplots(rows, columns, squeeze=False)).flat:
        ax.set_axis_off()
    for ax, image, caption in zip(axes.flat, np.asarray(images), captions, strict=False):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(caption, fontsize=9)
    figure.suptitle(title)
    return figure


def explanations(found: Sequence[Explanation], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw a row for each explained answer: image, evidence, neighbours, the least change that was found to flip it."""
    figure, k = figure or plt.figure(), len(found[0].neighbours)
    figure.set_size_inches(1.45 * (4 + k), 0.9 + 1.75 * len(found))
    figure.set_layout_engine("constrained")
    for axes, one in zip(figure.subplots(len(found), 4 + k, squeeze=False), found, strict=True):
        shades: dict[str, Any] = {"cmap": "gray_r", "vmin": 0, "vmax": 255, "interpolation": "nearest"}
        most, moved = np.abs(one.evidence).max() or 1, one.changed - one.image.astype(np.float32)
        pictures = [
            (f"{one.other}, answered {one.answer}", one.image, shades),
            (f"for {one.answer} / {one.other}", one.evidence, {"cmap": "PuOr_r", "vmin": -most, "vmax": most}),
            *(
                (f"like this {label}", image, shades)
                for image, label in zip(one.neighbours, one.neighbour_labels, strict=True)
            ),
            (
                f"change of {one.change:.2f}" if np.isfinite(one.change) else "no flip found",
                moved,
                {"cmap": "PuOr_r", "vmin": -128, "vmax": 128},
            ),
            (f"flips to {one.changed_answer}" if np.isfinite(one.change) else "", one.changed, shades),
        ]
        for ax, (caption, picture, how) in zip(axes, pictures, strict=True):
            ax.imshow(picture, **how)
            ax.set_title(caption, fontsize=9)
            ax.set_axis_off()
    figure.suptitle(title)
    return figure


def image_map(points: ArrayLike, labels: ArrayLike, wrong: ArrayLike, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw images as their digits in the plane, with a ring around each that was answered wrong.

    Parameters
    ----------
    points : float array, shape (n, 2)
    labels : integer array, shape (n,)
    wrong : bool array, shape (n,)
    """
    ax = ax or plt.subplots(figsize=(8.5, 7.5), layout="constrained")[1]
    points, labels, wrong = np.asarray(points), np.asarray(labels), np.asarray(wrong)
    for digit, colour in enumerate(sns.color_palette("colorblind", 10)):
        of_digit = points[labels == digit]  # the digit itself is the mark: colours only help
        ax.scatter(of_digit[:, 0], of_digit[:, 1], marker=f"${digit}$", color=colour, s=36, linewidths=0.3, alpha=0.8)
    ax.scatter(
        points[wrong, 0],
        points[wrong, 1],
        s=110,
        facecolors="none",
        edgecolors="black",
        linewidths=1.5,
        label="answered wrong",
    )
    ax.set(xticks=[], yticks=[], title=title)
    ax.legend(loc="upper right")
    return ax


def reliability_diagram(found: Reliability, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the share of right answers against confidence, bin by bin, with 95 % intervals and the bins' images."""
    from mnist_utils.evaluation import wilson_interval

    ax = ax or plt.subplots(figsize=(6, 6), layout="constrained")[1]
    ax.plot([0, 1], [0, 1], color="grey", linestyle="--", label="calibrated")
    filled = found.n > 0
    n, confidence, accuracy = found.n[filled], found.confidence[filled], found.accuracy[filled]
    intervals = np.array(
        [wilson_interval(round(share * total), int(total)) for share, total in zip(accuracy, n, strict=True)]
    )
    ends = np.abs(intervals.T - accuracy)
    ax.errorbar(confidence, accuracy, ends, fmt="o", color=_TRAINING, capsize=3, label="this network")
    for x, total in zip(confidence, n, strict=True):
        ax.annotate(f"{total:,}", (x, -0.04), rotation=90, ha="center", va="top", fontsize=8, annotation_clip=False)
    ax.annotate("images", (-0.03, -0.04), rotation=90, ha="center", va="top", fontsize=8)
    for axis in ax.xaxis, ax.yaxis:
        axis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlim=(-0.06, 1.04), ylim=(-0.24, 1.04), yticks=np.linspace(0, 1, 6))
    ax.set(xlabel="confidence (probability of the answer)", ylabel="right answers", title=title)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.19))  # where a network would have to be sure and wrong
    return ax


def reliability_before_after(before: Reliability, after: Reliability, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw two reliability diagrams side by side: as trained, and after temperature scaling."""
    figure, axes = _pair(figure, (11, 5.8))
    reliability_diagram(before, title="As trained", ax=axes[0])
    reliability_diagram(after, title="After temperature scaling", ax=axes[1])
    figure.suptitle(title)
    return figure


def risk_coverage(curve: pd.DataFrame, chosen: Answered, *, goal: float, title: str, figure: Figure | None = None) -> Figure:
    """Draw what is gained by leaving uncertain images to a person: against the threshold, and against the share left.

    Parameters
    ----------
    curve : DataFrame
        From `error_analysis.risk_coverage`.
    chosen : Answered
        What the threshold does that was chosen for `goal`.
    goal : float, 0 to 1
        Wanted accuracy of the answers.
    """
    figure, (left, right) = _pair(figure, (11, 4.6))
    inside = curve[curve["threshold"] < _SURE]
    left.plot(inside["threshold"], 1 - inside["risk"], color=_TRAINING, label="right among the answered")
    left.plot(inside["threshold"], inside["coverage"], color=_VALIDATION, linestyle="-.", label="answered")
    left.set_xscale("logit")  # thresholds of use lie at 0.9, 0.99, 0.999
    left.set_xticks(ticks := [0.5, 0.9, 0.99, 0.999, _SURE], [f"{tick:g}" for tick in ticks])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.set(xlabel="confidence threshold", ylabel="share of images", xlim=(min(0.3, inside["threshold"].min()), _SURE))
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.plot(1 - curve["coverage"], curve["risk"], color=_TRAINING, drawstyle="steps-pre")
    right.axhline(1 - goal, color="grey", linestyle=":", label=f"goal: {1 - goal:.2%} wrong")
    right.set(xlabel="left to a person", ylabel="wrong among the answered")
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    if chosen.answered:
        point = {"color": "black", "marker": "D", "linestyle": "", "label": "threshold chosen on validation images"}
        left.plot([min(chosen.threshold, _SURE)], [chosen.accuracy], **point)
        right.plot([chosen.left], [1 - chosen.accuracy], **point)
        right.set_xlim(-0.01, max(0.1, min(1.0, 3 * chosen.left)))
    for ax in left, right:
        ax.grid(alpha=0.3)
        ax.legend(fontsize=9)
    figure.suptitle(title)
    return figure


def shares(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw shares with their intervals, a row each (index: names; columns share, low, high; 0 to 1)."""
    ax = ax or plt.subplots(figsize=(9, 0.9 + 0.55 * len(table)), layout="constrained")[1]
    ends = np.abs(table[["low", "high"]].to_numpy().T - table["share"].to_numpy())
    places = np.arange(len(table))
    ax.barh(places, table["share"], xerr=ends, color=_TRAINING, alpha=0.75, height=0.6, capsize=4)
    ax.set_yticks(places, list(table.index))
    for place, (share, high) in enumerate(zip(table["share"], table["high"], strict=True)):
        ax.annotate(f"{share:.1%}", (high, place), xytext=(6, 0), textcoords="offset points", va="center")
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlim=(0, 1.12), xticks=np.linspace(0, 1, 6), title=title)
    sns.despine(ax=ax)
    return ax


def robustness(found: Robustness, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw a row for each change of the images: what it is called, some samples, and the accuracy with its interval."""
    figure = figure or plt.figure()
    table, gap = found.table, 2
    figure.set_size_inches(10.5, 1.4 + 0.4 * len(table))
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 2.9])  # so that the digits are square, at this size
    side = found.samples.shape[-1] + gap
    padded = np.pad(found.samples, ((0, 0), (0, 0), (gap // 2, gap // 2), (gap // 2, gap // 2)), constant_values=255)
    left.imshow(
        padded.swapaxes(1, 2).reshape(len(table) * side, -1),
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
        interpolation="nearest",
    )
    left.set_yticks((np.arange(len(table)) + 0.5) * side, [str(name).replace("_", " ") for name in table.index])
    left.set_xticks([])
    left.tick_params(length=0)
    sns.despine(ax=left, left=True, bottom=True)
    places, shares = np.arange(len(table)), table["accuracy"]
    ends = np.abs(table[["low", "high"]].to_numpy().T - shares.to_numpy())
    groups = list(dict.fromkeys(table["group"]))
    for colour, hatch, group in zip(
        ("#666666", _TRAINING, _VALIDATION, "#009E73"), ("", "", "//", ".."), groups, strict=False
    ):
        of = (table["group"] == group).to_numpy()
        right.barh(
            places[of], shares[of], xerr=ends[:, of], height=0.7, color=colour, hatch=hatch, edgecolor="white", label=group,
            alpha=0.8, capsize=3,
        )  # fmt: skip
    for place, (share, high) in enumerate(zip(shares, table["high"], strict=True)):
        right.annotate(f"{share:.1%}", (high, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    right.set(xlim=(0, 1.12), ylim=(len(table) - 0.5, -0.5), yticks=[], xticks=np.linspace(0, 1, 6), xlabel="right answers")
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=4, frameon=False)
    sns.despine(ax=right, left=True)
    figure.suptitle(title)
    return figure


def digit_bars(table: pd.DataFrame, *, ylabel: str, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw shares of each digit as bars side by side (index: digits; a column a series, three at most; 0 to 1)."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    width = 0.8 / table.shape[1]
    styles = zip((_TRAINING, _VALIDATION, "#009E73"), ("", "//", ".."), table.items(), strict=False)
    for i, (colour, hatch, (name, values)) in enumerate(styles):
        left = table.index + (i - (table.shape[1] - 1) / 2) * width
        ax.bar(left, values, width, label=str(name), color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xticks=table.index, xlabel="digit", ylabel=ylabel, title=title)
    ax.grid(alpha=0.3, axis="y")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=3, frameon=False)
    return ax


def confidence_histogram(confidence: ArrayLike, right: ArrayLike, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw how sure right and wrong answers are, stacked, in twenty bins.

    Parameters
    ----------
    confidence : float array, shape (n,), 0 to 1
    right : bool array, shape (n,)
    """
    ax = ax or plt.subplots(figsize=(6, 4), layout="constrained")[1]
    confidence, right = np.asarray(confidence), np.asarray(right, bool)
    parts = [confidence[~right], confidence[right]]
    labels = [f"wrong ({len(parts[0]):,})", f"right ({len(parts[1]):,})"]
    ax.hist(parts, bins=20, range=(0, 1), stacked=True, color=[_VALIDATION, _TRAINING], label=labels, edgecolor="white")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel="confidence (probability of the answer)", ylabel="images", title=title)
    ax.legend(loc="upper left")
    sns.despine(ax=ax)
    return ax


def picture_and_answer(picture: ArrayLike, probabilities: ArrayLike, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw a picture beside the probabilities of the ten digits, the answer's bar in another colour."""
    figure, (left, right) = _pair(figure, (9, 3.4))
    left.imshow(np.asarray(picture), cmap="gray")
    left.set_axis_off()
    values = np.asarray(probabilities)
    colours = [_VALIDATION if digit == values.argmax() else _TRAINING for digit in range(10)]
    right.bar(range(10), values, color=colours)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set(xticks=range(10), ylim=(0, 1), xlabel="digit", ylabel="probability")
    sns.despine(ax=right)
    figure.suptitle(title)
    return figure


def latencies(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw how long answers take (index: ways to ask; columns p50, p99 in milliseconds) on a logarithmic axis."""
    ax = ax or plt.subplots(figsize=(9, 1.4 + 0.5 * len(table)), layout="constrained")[1]
    places = np.arange(len(table))
    ax.hlines(places, table["p50"], table["p99"], color="0.6", linewidth=3, zorder=1)
    for name, label, colour, marker in (("p50", "median", _TRAINING, "o"), ("p99", "99th percentile", _VALIDATION, "s")):
        ax.scatter(table[name], places, color=colour, marker=marker, s=60, label=label, zorder=2)
    for place, milliseconds in zip(places, table["p50"], strict=True):
        ax.annotate(f"{milliseconds:.3g} ms", (milliseconds, place), xytext=(0, 8), textcoords="offset points", ha="center")
    ax.set_yticks(places, list(table.index))
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.margins(x=0.12, y=0.25)
    ax.set(xlabel="milliseconds for one image", title=title)
    ax.grid(alpha=0.3, axis="x")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return ax


def reading_steps(reading: Reading, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw how a picture became a network's input, step by step, the last step being what the network sees."""
    figure = figure or plt.figure()
    steps = {**reading.steps, "as the network sees it": reading.image / 255}
    tallest = max(1.0, *(image.shape[0] / image.shape[1] for image in steps.values()))
    figure.set_size_inches(2.6 * len(steps), 2.6 * min(tallest, 2) + 0.9)
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


# --- the data set -----------------------------------------------------------------------------------------

_PARTS = {"training": "#0072B2", "validation": "#D55E00", "test": "#999999"}
# Seaborn's colours for the colour-blind, its yellow darker: it is too pale for small signs on white.
_DIGITS = ["#a89a00" if i == 8 else colour for i, colour in enumerate(sns.color_palette("colorblind", 10))]


def class_balance(counts: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each digit's share of each part.

    Parameters
    ----------
    counts : DataFrame of integers
        A row a digit, a column a part: training, validation, test.
    """
    ax = ax or plt.subplots(figsize=(9, 3.6), layout="constrained")[1]
    shares = 100 * counts / counts.sum()
    shares.plot.bar(ax=ax, color=[_PARTS[str(part)] for part in shares], width=0.8, rot=0)
    ax.axhline(100 / len(counts), color="black", linewidth=1, linestyle="--", label="all digits equally often")
    ax.set(xlabel="digit", ylabel="% of the part's images", title=title)
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    return ax


def image_rows(rows: Sequence[NDArray[Any]], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a contact sheet: a row of images for each digit, the digit before it.

    Parameters
    ----------
    rows : sequence of ten arrays, shapes (n, 28, 28), grey levels 0 to 255
        Rows may differ in length.
    """
    columns = max(len(images) for images in rows)
    sheet = np.full((29 * len(rows), 29 * columns), 70, np.uint8)  # a dark grey grid between the images
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet[29 * row : 29 * row + 28, 29 * column : 29 * column + 28] = image
    if ax is None:
        width = 9.0
        ax = plt.subplots(figsize=(width, width * len(rows) / columns + 0.5), layout="constrained")[1]
    ax.imshow(sheet[:-1, :-1], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set(xticks=[], yticks=29 * np.arange(len(rows)) + 14, yticklabels=range(len(rows)), title=title)
    ax.tick_params(axis="y", length=0)
    return ax


def class_means(means: NDArray[Any], stds: NDArray[Any], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw each digit's mean image above the standard deviation of its pixels (shapes (10, 28, 28), grey levels)."""
    figure = figure or plt.figure()
    figure.set_size_inches(10, 2.5)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(2, len(means))
    for row, (images, colours, name) in enumerate(((means, "gray", "mean"), (stds, "viridis", "standard\ndeviation"))):
        for digit, (ax, image) in enumerate(zip(axes[row], images, strict=True)):
            drawn = ax.imshow(image, cmap=colours, vmin=0, vmax=255 if row == 0 else 128)
            ax.set(xticks=[], yticks=[], title=str(digit) if row == 0 else "")
        axes[row, 0].set_ylabel(name)
        figure.colorbar(drawn, ax=axes[row], label="grey level", aspect=8)
    figure.suptitle(title)
    return figure


def pixel_use(levels: NDArray[Any], used: NDArray[Any], *, title: str, figure: Figure | None = None) -> Figure:
    """Draw how often each grey level occurs, and how often each pixel holds ink.

    Parameters
    ----------
    levels : integer array, shape (256,)
        Pixels with each grey level.
    used : float array, shape (28, 28)
        Share of images, 0 to 1, in which a pixel is not 0. Where it is 0 a cross stands.
    """
    figure, (left, right) = _pair(figure, (10, 4))
    left.bar(np.arange(0, 256, 8), 100 * levels.reshape(32, 8).sum(axis=1) / levels.sum(), 8, align="edge", color=_TRAINING)
    left.set(yscale="log", xlabel="grey level, 8 to a bar", ylabel="% of all pixels (logarithmic)", title="Grey levels")
    drawn = right.imshow(100 * used, cmap="viridis", vmin=0, vmax=100)
    never = np.argwhere(used == 0)
    right.plot(never[:, 1], never[:, 0], "x", color="white", markersize=5)
    right.set(xticks=[0, 4, 14, 23, 27], yticks=[0, 4, 14, 23, 27], title="Where ink lies (x: never)")
    figure.colorbar(drawn, ax=right, label="% of images with ink here")
    figure.suptitle(title)
    return figure


def by_digit(values: ArrayLike, labels: ArrayLike, *, name: str, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw how a measured value is spread among the images of each digit.

    Boxes hold the middle half, their line is the median, whiskers hold all but the outermost 1 % on either side.
    """
    ax = ax or plt.subplots(figsize=(9, 3.6), layout="constrained")[1]
    values, labels = np.asarray(values), np.asarray(labels)
    held = ~np.isnan(values)
    digits = np.unique(labels)
    ax.boxplot(  # seaborn's passes an argument that matplotlib 3.11 warns of
        [values[held & (labels == digit)] for digit in digits],
        tick_labels=[str(digit) for digit in digits],
        whis=(1, 99),
        widths=0.7,
        patch_artist=True,
        boxprops={"facecolor": "#9ecae1"},
        medianprops={"color": "black", "linewidth": 1.5},
        flierprops={"marker": ".", "markersize": 3},
    )
    ax.axhline(float(np.nanmedian(values)), color=_VALIDATION, linewidth=1, linestyle="--", label="median of all")
    ax.set(xlabel="digit", ylabel=name, title=title)
    ax.legend(loc="upper right")
    return ax


def neighbour_distances(distances: Mapping[str, NDArray[Any]], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw, for each part, the share of its images whose nearest training image is nearer than a distance."""
    ax = ax or plt.subplots(figsize=(9, 4), layout="constrained")[1]
    styles = ("-", "--", ":")
    for (name, values), style in zip(distances.items(), styles, strict=False):
        ax.ecdf(values, label=f"{name}, {len(values):,} images", color=_PARTS[name], linestyle=style, linewidth=2)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(
        xlabel="distance to the nearest other training image", ylabel="images at most that far", title=title, xlim=(0, None)
    )
    ax.grid(alpha=0.3)
    ax.legend(loc="upper left", frameon=False)
    return ax


def pairs(
    first: NDArray[Any],
    second: NDArray[Any],
    captions: Sequence[str],
    *,
    names: tuple[str, str],
    title: str,
    figure: Figure | None = None,
) -> Figure:
    """Draw pairs of images, a column a pair: `first` above `second` above their difference.

    Parameters
    ----------
    first, second : uint8 arrays, shape (n, 28, 28)
    captions : n texts
        Stand above the columns.
    names : two texts
        What the first and the second images are.
    """
    figure = figure or plt.figure()
    figure.set_size_inches(10, 3.4)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(3, len(first), squeeze=False)
    limit = max(1, int(np.abs(first.astype(int) - second.astype(int)).max()))
    for column, caption in enumerate(captions):
        a, b = first[column].astype(int), second[column].astype(int)
        for row, image in enumerate((a, b)):
            axes[row, column].imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        drawn = axes[2, column].imshow(a - b, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        axes[0, column].set_title(caption, fontsize=9)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for row, name in enumerate((*names, "difference")):
        axes[row, 0].set_ylabel(name)
    figure.colorbar(drawn, ax=axes[2], label="grey levels", aspect=8, ticks=[-limit, 0, limit])
    figure.suptitle(title)
    return figure


def digit_map(points: NDArray[Any], labels: NDArray[Any], *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw images as points in the plane, each as its digit; the large digit stands at the median of its kind.

    Parameters
    ----------
    points : float array, shape (n, 2)
    labels : integer array, shape (n,), values 0 to 9
    """
    ax = ax or plt.subplots(figsize=(8, 7), layout="constrained")[1]
    for digit in np.unique(labels):
        own = points[labels == digit]
        ax.scatter(own[:, 0], own[:, 1], s=22, marker=f"${digit}$", color=_DIGITS[digit], linewidths=0.3)
    digits = np.unique(labels)
    middles = np.array([np.median(points[labels == digit], axis=0) for digit in digits])
    for digit, (x, y) in zip(digits, _apart(middles, 0.05 * np.ptp(points, axis=0)), strict=True):
        text = ax.text(x, y, str(digit), fontsize=22, fontweight="bold", ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=4, foreground="white")])
    ax.set(xticks=[], yticks=[], title=title)
    return ax


def _apart(places: NDArray[Any], size: NDArray[Any]) -> NDArray[Any]:
    """Push places apart, little by little, until none lies within `size` (shape (2,)) of another."""
    places = places / size
    for _ in range(200):
        between = places[:, None] - places[None]
        far = np.maximum(np.linalg.norm(between, axis=2, keepdims=True), 1e-9)
        push = np.where(far < 1, between / far * (1 - far) / 2, 0)
        if not push.any():
            break
        places = places + push.sum(axis=1)
    return places * size
