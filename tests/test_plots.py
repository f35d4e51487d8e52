from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from mnist_utils import plots

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
