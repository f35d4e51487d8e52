"""Colours, and the set-up of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure

TRAINING_COLOR, VALIDATION_COLOR = "#0072B2", "#D55E00"  # blue and vermilion: distinct in all common forms of colour vision
HIGHEST_THRESHOLD = 0.9999  # where a curve over confidence thresholds ends
ERROR_COLOR = "#F28E2B"  # light enough for black numbers on it


def prepare_figure(figure: Figure | None, size: tuple[float, float]) -> Figure:
    """Set the size, in inches, and the layout of a figure; make a new one if None."""
    figure = figure or plt.figure()
    figure.set_size_inches(size)
    figure.set_layout_engine("constrained")
    return figure


def axes_pair(figure: Figure | None, size: tuple[float, float]) -> tuple[Figure, Any]:
    """Lay out two axes side by side in a figure, see `prepare_figure`."""
    figure = prepare_figure(figure, size)
    return figure, figure.subplots(1, 2)


PART_COLORS = {"training": "#0072B2", "validation": "#D55E00", "test": "#999999"}
# Seaborn's colour-blind palette, but its yellow and its pink are darker here: too pale for small markers on white.
_DARKER = {6: "#6a3d9a", 8: "#a89a00"}
DIGIT_COLORS = [_DARKER.get(i, colour) for i, colour in enumerate(sns.color_palette("colorblind", 10))]


def name_ticks(axis: Axis, classes: Sequence[str], n: int) -> None:
    """Put the names of `n` classes, or their numbers, at 0, 1, ... of an axis, small or turned where they need it."""
    names = list(classes) or list(map(str, range(n)))
    size = 10.0 if n <= 20 else 6.0 if n > 60 else 8.0
    turned = isinstance(axis, XAxis) and max(map(len, names)) * n > 60
    axis.set_ticks(range(n), names, fontsize=size, rotation=90 if turned else 0)
