from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mnist_utils.evaluation.statistics import accuracy_interval
from mnist_utils.experiments import figures, results
from tests.experiments.test_results import GRID, grid
from tests.fake_runs import fake_run


@pytest.fixture(autouse=True)
def closed() -> object:
    yield
    plt.close("all")


def trials() -> pd.DataFrame:
    return results.trials_table(grid())


def test_an_effect_is_drawn_at_its_mean_with_its_interval() -> None:
    means = results.parameter_means(trials(), "batch_size")
    ax = figures.parameter_effect(means, "batch_size")
    points, *intervals = ax.lines
    expected = [accuracy_interval(rows.to_numpy()) for _, rows in means.groupby("batch_size")["validation"]]
    assert points.get_ydata() == pytest.approx([mean for mean, _, _ in expected])
    found = [(np.nanmin(line.get_ydata()), np.nanmax(line.get_ydata())) for line in intervals]
    assert found == [pytest.approx((low, high)) for _, low, high in expected]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["64", "256"]
    assert ax.get_xlabel() == "batch size"


def test_many_values_lie_where_they_are_on_a_logarithmic_axis_if_wide() -> None:
    values = np.geomspace(1e-4, 0.1, 12)
    found = [fake_run(f"r{i}", 0.9, learning_rate=value) for i, value in enumerate(values)]
    ax = figures.parameter_effect(results.parameter_means(results.trials_table(found), "learning_rate"), "learning_rate")
    assert ax.get_xscale() == "log"
    assert ax.lines[0].get_xdata() == pytest.approx(values)


def test_a_heat_map_has_the_mean_of_each_pair_in_order() -> None:
    ax = figures.heat_map(trials(), "conv_dropout", "batch_size")
    cells = [float(text.get_text()) for text in ax.texts]
    means = {key: 100 * float(np.mean(values)) for key, values in GRID.items()}
    assert cells == pytest.approx([means[64, 0.0], means[256, 0.0], means[64, 0.5], means[256, 0.5]], abs=0.005)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "0.5"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["64", "256"]


@pytest.mark.parametrize(("accuracies", "ends"), [((0.992, 0.994), (98.8, 99.8)), ((0.9, 0.95), (90, 95))])
def test_small_differences_do_not_get_the_whole_range_of_colours(
    accuracies: tuple[float, float], ends: tuple[float, float]
) -> None:
    values = [(accuracy, epochs) for accuracy in accuracies for epochs in (1, 2)]
    found = [
        fake_run(f"r{i}", accuracy, epochs=epochs, batch_size=round(1000 * accuracy))
        for i, (accuracy, epochs) in enumerate(values)
    ]
    ax = figures.heat_map(results.trials_table(found), "batch_size", "epochs")
    assert ax.collections[0].get_clim() == pytest.approx(ends)


def test_numbers_are_in_their_own_order_and_none_is_last() -> None:
    found = [fake_run(f"{p}", 0.9, patience=p) for p in (10, 9, None)] + [fake_run("x", 0.8, epochs=3)]
    ax = figures.heat_map(results.trials_table(found), "epochs", "patience")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["9", "10", "off"]


def test_parallel_coordinates_have_a_line_for_each_run_best_on_top() -> None:
    table = trials()
    ax = figures.parallel_coordinates(table, ["conv_dropout", "batch_size"])
    lines = [line for line in ax.lines if np.size(line.get_xdata()) == 3]
    assert len(lines) == len(table)
    heights = [float(np.asarray(line.get_ydata())[-1]) for line in lines]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0, 1)
    assert {"64", "256", "97.00%", "80.00%"} <= {text.get_text() for text in ax.texts}
    best = np.asarray(lines[-1].get_ydata())
    assert best[:2] == pytest.approx([0, 0], abs=0.05)  # no dropout, batches of 64: the first of their axes


def test_accuracy_against_time_names_what_nothing_beats_in_both() -> None:
    settings = results.settings_table(trials())  # batches of 64 take 1 s, of 256 take 4 s, and are worse
    ax = figures.accuracy_against_time(settings, ["conv_dropout", "batch_size"])
    assert [text.get_text() for text in ax.texts] == ["0, 64"]


def test_all_that_can_be_drawn_is_and_no_more() -> None:
    two = figures.sweep_figures(trials())
    assert [words.split(" ")[0] for _, words, _ in two] == ["Validation", "Validation", "Mean"]
    assert all(isinstance(figure, Figure) for figure, _, _ in two)
    assert plt.get_fignums() == []
    three = [*grid(), fake_run("more", 0.9, epochs=3, batch_size=64, conv_dropout=0.5)]
    assert "Every run as a line" in figures.sweep_figures(results.trials_table(three))[1][1]
    assert figures.sweep_figures(results.trials_table([fake_run("a", 0.9), fake_run("b", 0.8, seed=1)])) == []
    figures.sweep_figures(trials(), new_figure=plt.figure)
    assert len(plt.get_fignums()) == 3


def test_titles_say_how_many_runs_seeds_and_which_data() -> None:
    for figure, _, _ in figures.sweep_figures(trials()):
        title = figure.get_suptitle() or figure.axes[0].get_title()
        assert "12 runs, 3 seeds, digits" in title
