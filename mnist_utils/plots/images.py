"""Figures that show images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from mnist_utils.data.classes import class_word
from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR, axes_pair, name_ticks, prepare_figure

if TYPE_CHECKING:
    from mnist_utils.preprocessing.reader import PreprocessedImage


def image_grid(
    images: ArrayLike, captions: Sequence[str], *, title: str, columns: int = 8, figure: Figure | None = None
) -> Figure:
    """Draw 28x28 images with a caption above each."""
    rows = max(1, -(-len(captions) // columns))
    figure = prepare_figure(figure, (1.25 * columns, 0.9 + 1.65 * rows))
    for ax in (axes := figure.subplots(rows, columns, squeeze=False)).flat:
        ax.set_axis_off()
    for ax, image, caption in zip(axes.flat, np.asarray(images), captions, strict=False):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(caption, fontsize=9)
    figure.suptitle(title)
    return figure


def picture_and_prediction(
    picture: ArrayLike,
    probabilities: ArrayLike,
    *,
    classes: Sequence[str] = (),
    title: str,
    figure: Figure | None = None,
) -> Figure:
    """Draw a picture next to the probabilities of the classes, with the prediction's bar in another colour."""
    figure, (left, right) = axes_pair(figure, (9, 3.4))
    left.imshow(np.asarray(picture), cmap="gray")
    left.set_axis_off()
    values = np.asarray(probabilities)
    colours = [VALIDATION_COLOR if label == values.argmax() else TRAINING_COLOR for label in range(len(values))]
    right.bar(range(len(values)), values, color=colours)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set(ylim=(0, 1), xlabel=class_word(classes), ylabel="probability")
    name_ticks(right.xaxis, classes, len(values))
    sns.despine(ax=right)
    figure.suptitle(title)
    return figure


def preprocessing_steps(reading: PreprocessedImage, *, title: str, figure: Figure | None = None) -> Figure:
    """Draw how a picture becomes a model's input, step by step."""
    steps = {**reading.steps, "model input": reading.image / 255}
    tallest = max(1.0, *(image.shape[0] / image.shape[1] for image in steps.values()))
    figure = prepare_figure(figure, (2.6 * len(steps), 2.6 * min(tallest, 2) + 0.9))
    for ax, (name, image) in zip(figure.subplots(1, len(steps)), steps.items(), strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=name, xticks=[], yticks=[])
        ax.set_xlabel(f"{image.shape[1]} x {image.shape[0]}")
    figure.suptitle(title)
    return figure


def digit_boxes(
    picture: NDArray[Any],
    digits: Sequence[tuple[tuple[float, float, float, float], str]],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a box around each digit of a picture, and what it was read as above the box.

    Parameters
    ----------
    picture : float array, shape (height, width, 3), values 0 to 1
    digits : sequence of (box, text)
        Boxes as (left, top, right, bottom), fractions of the picture's width and height.
    """
    if ax is None:
        ax = plt.subplots(layout="constrained")[1]
    height, width = picture.shape[:2]
    ax.imshow(picture, vmin=0, vmax=1)
    for (left, top, right, bottom), text in digits:
        corner, size = (left * width, top * height), ((right - left) * width, (bottom - top) * height)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="tab:red", linewidth=1.5))
        ax.annotate(
            text, (corner[0] + size[0] / 2, corner[1]), (0, 2), textcoords="offset points", ha="center", color="tab:red"
        )
    ax.set(xticks=[], yticks=[], title=title)
    return ax


def image_rows(
    rows: Sequence[NDArray[Any]], *, classes: Sequence[str] = (), title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw a contact sheet: a row of images for each class, labelled with its name.

    Parameters
    ----------
    rows : sequence of arrays, shapes (n, 28, 28), grey levels 0 to 255
        One for each class; they may differ in length.
    classes : sequence of str
        The classes' names; none for the ten digits.
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
    ax.set(xticks=[], yticks=29 * np.arange(len(rows)) + 14, yticklabels=list(classes) or range(len(rows)), title=title)
    ax.tick_params(axis="y", length=0)
    return ax


def image_pairs(
    first: NDArray[Any],
    second: NDArray[Any],
    captions: Sequence[str],
    *,
    names: tuple[str, str],
    title: str,
    figure: Figure | None = None,
) -> Figure:
    """Draw pairs of images, one column per pair: `first` above `second` above their difference.

    Parameters
    ----------
    first, second : uint8 arrays, shape (n, 28, 28)
    captions : n strings
        Titles of the columns.
    names : two strings
        What the first and the second images are.
    """
    figure = prepare_figure(figure, (10, 3.4))
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
