from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mnist_utils import plots
from mnist_utils.ablations import Effect

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "accuracy": [0.8, 0.9, 0.95],
        "loss": [0.6, 0.3, 0.2],
        "val_accuracy": [0.85, 0.9, 0.91],
        "val_loss": [0.5, 0.3, 0.4],
    }
)
MATRIX = np.diag(np.full(10, 100))
MATRIX[4, 9] = 7
MATRIX[9, 4] = 2


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize(("draw", "column"), [(plots.accuracy_curves, "accuracy"), (plots.loss_curves, "loss")])
def test_curves_show_training_and_validation(draw, column: str) -> None:  # type: ignore[no-untyped-def]
    ax = draw(HISTORY)
    lines = {text.get_text(): line for text, line in zip(ax.get_legend().get_texts(), ax.get_lines(), strict=False)}
    assert set(lines) == {"training", "validation"}
    np.testing.assert_array_equal(lines["training"].get_ydata(), HISTORY[column])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), HISTORY[f"val_{column}"])
    assert ax.get_xlabel() == "epoch"
    assert ax.get_ylabel()


def test_draws_on_the_axes_it_is_given() -> None:
    _, ax = plt.subplots()
    assert plots.loss_curves(HISTORY, ax=ax) is ax
    assert plots.confusion_matrix(MATRIX, ax=ax) is ax


def test_a_single_epoch_can_be_drawn() -> None:
    figure = plots.training_curves(HISTORY.head(1), title="one epoch")
    figure.canvas.draw()
    assert figure.get_suptitle() == "one epoch"


SEEDS = Effect("none", "dropout", "accuracy", "seed", False, (0.9, 0.92), (0.93, 0.91), 0.01, (-0.02, 0.04))
REPEATS = Effect("array", "generator", "seconds", "repeat", True, (1.0, 1.1), (1.2, 1.4), 1.24, (1.1, 1.4))


def points(drawn: Any) -> list[float]:
    """Return where circles are drawn along x, or from where to where a bar goes."""
    places = drawn.get_segments()[0] if hasattr(drawn, "get_segments") else drawn.get_offsets()
    return [float(x) for x, _ in places]


def lines(ax: Axes) -> list[list[tuple[float, float]]]:
    return [[(float(x), float(y)) for x, y in np.asarray(line.get_xydata())] for line in ax.get_lines()]


def test_paired_values_show_each_seed_with_both_variants() -> None:
    ax = plots.paired_values(SEEDS)
    assert lines(ax) == [[(0, 0.9), (1, 0.93)], [(0, 0.92), (1, 0.91)]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "dropout"]
    assert (ax.get_ylabel(), ax.get_title()) == ("accuracy", "Each line is a seed")
    assert plots.paired_values(REPEATS).get_ylabel() == "seconds"


def test_paired_interval_shows_differences_mean_and_interval_in_points() -> None:
    ax = plots.paired_interval(SEEDS, threshold=-0.01)
    circles, bar = ax.collections
    assert points(circles) == pytest.approx([3, -1])
    assert points(bar) == pytest.approx([-2, 4])
    assert [line[0][0] for line in lines(ax)[:3]] == pytest.approx([0, -1, 1])  # no effect; the claim; the mean
    assert ax.get_xlabel() == "dropout - none, points of accuracy"


def test_paired_interval_of_a_ratio_is_about_one() -> None:
    ax = plots.paired_interval(REPEATS)
    circles, bar = ax.collections
    assert points(circles) == pytest.approx([1.2, 1.4 / 1.1])
    assert points(bar) == pytest.approx([1.1, 1.4])
    assert lines(ax)[0][0][0] == 1
    assert ax.get_xlabel() == "generator / array"


def test_paired_effect_says_what_it_is_told() -> None:
    figure = plots.paired_effect(REPEATS, title="slower: holds", threshold=1.5)
    figure.canvas.draw()
    assert figure.get_suptitle() == "slower: holds"
    assert len(figure.axes) == 2


def test_the_diagonal_does_not_drown_the_errors() -> None:
    ax = plots.confusion_matrix(MATRIX)
    diagonal, errors = ax.collections[:2]
    assert errors.get_clim() == (0, 7)
    assert np.ma.getmaskarray(np.ma.asarray(errors.get_array())).reshape(10, 10).diagonal().all()
    assert not np.ma.getmaskarray(np.ma.asarray(diagonal.get_array())).reshape(10, 10).diagonal().any()
    shown = {text.get_text() for text in ax.texts}
    assert {"100", "7", "2"} <= shown
    assert "0" not in shown


def test_normalised_rows_are_per_cent_of_the_true_digit() -> None:
    ax = plots.confusion_matrix(MATRIX, normalize=True)
    assert ax.collections[1].get_clim()[1] == pytest.approx(700 / 107)
    assert {"6.5", "93.5", "2.0"} <= {text.get_text() for text in ax.texts}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("answer", "true digit")


def test_a_matrix_without_errors_or_images_can_be_drawn() -> None:
    for matrix in np.diag(np.full(10, 5)), np.zeros((10, 10), int):
        plots.confusion_matrices(matrix, title="nothing wrong").canvas.draw()
