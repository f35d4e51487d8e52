from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnist_utils import plots
from mnist_utils.evaluation.ood import compare_ood_scores
from mnist_utils.evaluation.slices import slice_errors


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def intervals(ax: Any) -> list[tuple[float, float, float]]:
    """Return the point and the ends of each horizontal interval, from the top to the bottom."""
    found = []
    for bar in ax.containers:
        ((left, _), (right, _)) = bar.lines[2][0].get_segments()[0]
        found.append((float(bar.lines[0].get_xdata()[0]), float(left), float(right)))
    return found


def test_each_slice_has_its_rate_its_interval_and_its_counts() -> None:
    incorrect = np.arange(200) % 8 == 0
    incorrect[:20] = True
    groups = {"first": np.arange(200) < 30, "parity": np.where(np.arange(200) % 2, "odd", "even")}
    table = slice_errors(incorrect, groups)
    ax: Any = plots.slice_error_rates(table, overall=incorrect.mean(), title="slices")
    np.testing.assert_allclose(intervals(ax), table[["rate", "low", "high"]])
    errors = [f"{count} of {n}" for count, n in zip(table["errors"], table["n"], strict=True)]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [f"first  ({errors[0]})", f"even  ({errors[1]})", f"odd  ({errors[2]})"]
    assert [text.get_text() for text in ax.texts] == ["parity", "all images"]
    filled = [bar.lines[0].get_markerfacecolor() != "white" for bar in ax.containers]
    assert filled == (table["p_value"] < 0.05).tolist()
    assert True in filled
    assert ax.get_title() == "slices"
    assert ax.get_xlim()[0] == 0
    ax.figure.canvas.draw()


def test_each_score_and_kind_has_its_area() -> None:
    random = np.random.default_rng(0)
    known = {"confidence": random.normal(2, 1, 60), "energy": random.normal(-1, 1, 60)}
    others = {kind: {name: random.normal(0, 1, 40) for name in known} for kind in ("noise", "letters")}
    table = compare_ood_scores(known, others)
    ax: Any = plots.ood_areas(table, title="scores")
    by_kind = table.swaplevel().loc[["noise", "letters"]]
    wanted = by_kind.loc[[("noise", "confidence"), ("noise", "energy"), ("letters", "confidence"), ("letters", "energy")]]
    np.testing.assert_allclose(intervals(ax), wanted[["auroc", "low", "high"]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["confidence", "energy"] * 2
    assert [text.get_text() for text in ax.texts] == ["noise (n = 40)", "letters (n = 40)", "chance"]
    ax.figure.canvas.draw()


def test_each_attack_is_a_curve_with_its_band() -> None:
    rows = [
        ("FGSM", 0.0, 0.9, 0.8, 0.95),
        ("FGSM", 0.1, 0.7, 0.6, 0.8),
        ("PGD", 0.0, 0.9, 0.8, 0.95),
        ("PGD", 0.1, 0.2, 0.1, 0.3),
    ]
    table = pd.DataFrame(rows, columns=["attack", "epsilon", "accuracy", "low", "high"])
    ax: Any = plots.attack_curves(table, title="attacks")
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0, 0.9], [0.1, 0.7]], [[0, 0.9], [0.1, 0.2]]]
    for band, (_, own) in zip(ax.collections, table.groupby("attack"), strict=True):
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
        assert corners == {*zip(own["epsilon"], own["low"], strict=True), *zip(own["epsilon"], own["high"], strict=True)}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["FGSM", "PGD"]
    ax.figure.canvas.draw()
