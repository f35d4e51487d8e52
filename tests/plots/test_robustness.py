from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox

from mnist_utils import plots
from mnist_utils.evaluation.robustness import Robustness


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def found() -> Robustness:
    shares = {"accuracy": [0.99, 0.8, 0.9, 0.5], "low": [0.98, 0.75, 0.85, 0.4], "high": [1.0, 0.85, 0.95, 0.6]}
    index = pd.Index(["clean", "dotted_line", "fog", "inverted"], name="change")
    table = pd.DataFrame({"group": ["clean", "MNIST-C", "MNIST-C", "ours"], "n": 100, **shares}, index=index)
    samples = np.broadcast_to(np.array([10, 20, 30, 40], np.uint8)[:, None, None, None], (4, 6, 28, 28))
    return Robustness(table.assign(confidence=[0.99, 0.6, 0.92, 0.97]), 0.8, (0.7, 0.9), "dotted_line", samples)


def test_each_change_has_its_samples_and_a_dot_with_its_interval(found: Robustness) -> None:
    figure: Any = plots.robustness_dots(found, title="robustness")
    figure.canvas.draw()
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["clean", "fog", "dotted line", "inverted"]  # best first
    strips: list[Any] = [artist for artist in ax.artists if isinstance(artist, AnnotationBbox)]
    assert [strip.offsetbox.get_data()[0, 0] for strip in strips] == [10, 30, 20, 40]
    assert [strip.xy[1] for strip in strips] == [0, 1, 2, 3] == ax.get_yticks().tolist()
    assert ax.get_ylim() == (3.5, -0.5)
    dots, ends = [], []
    for group in ax.containers:
        points, _, (bars,) = group.lines
        dots += points.get_xydata().tolist()
        ends += [segment[:, 0].tolist() for segment in bars.get_segments()]
    assert sorted(dots) == [[0.5, 3], [0.8, 2], [0.9, 1], [0.99, 0]]
    np.testing.assert_allclose(sorted(ends), [[0.4, 0.6], [0.75, 0.85], [0.85, 0.95], [0.98, 1]])
    assert 0.35 < ax.get_xlim()[0] < 0.4  # not at 0
    assert [text.get_text() for text in ax.texts] == ["99.0%", "90.0%", "80.0%", "50.0%"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["clean", "MNIST-C", "ours"]


def test_samples_are_square_and_beside_their_dots(found: Robustness) -> None:
    figure: Any = plots.robustness_dots(found, title="robustness")
    figure.canvas.draw()
    (ax,) = figure.axes
    renderer = figure.canvas.get_renderer()
    strips: list[Any] = [artist for artist in ax.artists if isinstance(artist, AnnotationBbox)]
    boxes = [strip.get_window_extent(renderer) for strip in strips]
    for place, box in enumerate(boxes):
        images, between = 5, 2 / 28
        assert box.width / box.height == pytest.approx(images + (images - 1) * between, rel=0.01)
        assert (box.y0 + box.y1) / 2 == pytest.approx(ax.transData.transform((0, place))[1], abs=1.5)
        assert box.x1 < ax.get_window_extent().x0
        label = ax.get_yticklabels()[place].get_window_extent(renderer)
        assert 0 <= label.x0 < label.x1 < box.x0
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))


def test_each_corruption_is_a_panel_with_a_line_for_each_model() -> None:
    names = ["snow", "gaussian_blur", "line", "contrast", "jpeg", "quantize"]
    tables = {}
    for model, start in ("mine", 0.9), ("baseline", 0.8):
        rows = [(name, k, start - 0.1 * k - 0.01 * i) for i, name in enumerate(names) for k in (0, 1, 2)]
        table = pd.DataFrame(rows, columns=["change", "severity", "accuracy"])
        tables[model] = table.assign(low=table["accuracy"] - 0.05, high=table["accuracy"] + 0.05)
    figure: Any = plots.severity_curves(tables, title="severities")
    figure.canvas.draw()
    drawn = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_title() for ax in drawn] == ["snow", "gaussian blur", "line", "contrast", "jpeg", "quantize"]
    lines: Any = [line.get_ydata() for line in drawn[2].lines]
    np.testing.assert_allclose(lines, [[0.88, 0.78, 0.68], [0.78, 0.68, 0.58]])
    for band, start in zip(drawn[2].collections, (0.88, 0.78), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((start - 0.25, start + 0.05))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mine", "baseline"]


def test_only_the_dots_furthest_from_the_diagonal_are_named(found: Robustness) -> None:
    better = found.table.assign(accuracy=found.table["confidence"])
    ax: Any = plots.confidence_and_accuracy({"mine": found.table, "calibrated": better}, named=2, title="confidence")
    ax.figure.canvas.draw()
    diagonal, mine, other = ax.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(mine.get_xydata(), found.table[["confidence", "accuracy"]])
    np.testing.assert_allclose(other.get_xydata(), better[["confidence", "accuracy"]])
    assert [(text.get_text(), text.xy) for text in ax.texts[:2]] == [("inverted", (0.97, 0.5)), ("dotted line", (0.6, 0.8))]
    edges = ax.get_window_extent()
    for text in ax.texts:
        extent = text.get_window_extent()
        assert edges.x0 <= extent.x0 < extent.x1 <= edges.x1  # inside the axes
    assert ax.get_xlim() == ax.get_ylim() == (0.49, 1.01)
