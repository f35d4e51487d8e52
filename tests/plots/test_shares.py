from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnist_utils import plots
from mnist_utils.evaluation.statistics import share_table


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def hits(n: int) -> Any:
    return np.arange(10) < n


def test_each_share_is_a_dot_in_its_panel_and_row() -> None:
    shares = {("raw", "up", "a"): 9, ("raw", "up", "b"): 8, ("raw", "down", "a"): 1, ("raw", "down", "b"): 2}
    shares |= {("read", *key[1:]): 10 for key in shares}
    table = share_table({key: hits(n) for key, n in shares.items()})
    figure = plots.share_dots(table, title="shares")
    raw, read = figure.axes
    assert [raw.get_title(), read.get_title()] == ["raw", "read"]
    assert [label.get_text() for label in raw.get_yticklabels()] == ["up", "down"]
    assert raw.get_ylim()[0] > raw.get_ylim()[1]  # the first row is on top
    drawn = [container.lines[0].get_xydata() for container in raw.containers]  # type: ignore[attr-defined]
    np.testing.assert_allclose(drawn, [[[0.9, -0.125], [0.1, 0.875]], [[0.8, 0.125], [0.2, 1.125]]])
    ends = [segment[:, 0].tolist() for segment in raw.containers[1].lines[2][0].get_segments()]  # type: ignore[attr-defined]
    np.testing.assert_allclose(ends, table[["low", "high"]].xs(("raw", "b"), level=(0, 2)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    figure.canvas.draw()


def test_curves_go_from_upright_to_inverted() -> None:
    one = pd.DataFrame({"contrast": [1.0, 0.0, -1.0], "accuracy": [0.9, 0.1, 0.2], "confidence": [0.95, 0.5, 0.7]})
    one = one.assign(low=one["accuracy"] - 0.05, high=one["accuracy"] + 0.05)
    other = one.assign(accuracy=1.0, confidence=np.nan)
    figure = plots.contrast_curves(pd.concat([one.assign(series="one"), other.assign(series="other")]), title="contrast")
    left, right = figure.axes
    np.testing.assert_array_equal([line.get_ydata() for line in left.lines], [one["accuracy"], other["accuracy"]])
    np.testing.assert_array_equal(right.lines[0].get_xydata(), one[["contrast", "confidence"]])
    band = np.asarray(left.collections[0].get_paths()[0].vertices)
    assert set(band[band[:, 0] == 1, 1].round(3).tolist()) == {0.85, 0.95}
    for ax in left, right:
        assert ax.get_xlim()[0] > 1 > -1 > ax.get_xlim()[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "other"]
    figure.canvas.draw()


def test_logits_are_dots_above_their_class() -> None:
    table = pd.DataFrame({"sheet": [1.0, -2.0], "mean": [0.5, 0.0]}, index=pd.Index(["cat", "dog"], name="class"))
    _, ax = plt.subplots()
    assert plots.class_logits(table, ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 1], [1, -2]])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), table["mean"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog"]
    assert ax.get_xlabel() == "class"
