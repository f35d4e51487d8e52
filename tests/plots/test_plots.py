from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from mnist_utils import plots
from mnist_utils.evaluation import calibration, conformal
from mnist_utils.evaluation.errors import confused_pairs, per_class_table, risk_coverage, selective_accuracy
from mnist_utils.evaluation.statistics import PairedEffect
from tests.lazy import lazy

if TYPE_CHECKING:
    from mnist_utils.evaluation import attribution
else:
    attribution = lazy("mnist_utils.evaluation.attribution")

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "accuracy": [0.8, 0.9, 0.95],
        "loss": [0.6, 0.3, 0.2],
        "clean_accuracy": [0.84, 0.93, 0.97],
        "clean_loss": [0.4, 0.2, 0.1],
        "val_accuracy": [0.85, 0.9, 0.91],
        "val_loss": [0.5, 0.3, 0.4],
    }
)
CURVE = pd.DataFrame({"epoch": [0.25, 0.75], "accuracy": [0.5, 0.7], "loss": [2.0, 0.9]})
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
    ax = draw(HISTORY, CURVE)
    lines = {str(line.get_label()): line for line in ax.get_lines()}
    assert set(lines) == {"while training", "training images as they are", "validation images"}
    np.testing.assert_array_equal(lines["while training"].get_xydata(), CURVE[["epoch", column]])
    np.testing.assert_array_equal(lines["training images as they are"].get_xydata(), HISTORY[["epoch", f"clean_{column}"]])
    np.testing.assert_array_equal(lines["validation images"].get_xydata(), HISTORY[["epoch", f"val_{column}"]])
    assert ax.get_xlabel() == "epoch"
    assert ax.get_ylabel()


def test_a_smoothed_loss_is_not_drawn_beside_a_plain_one() -> None:
    """Of older runs, only the former is known of the training images."""
    older = HISTORY.drop(columns=["clean_accuracy", "clean_loss"])
    names = [[line.get_label() for line in ax.get_lines()] for ax in plots.training_curves(older, title="").axes]
    assert names == [["while training", "validation images"], ["validation images"]]


def test_draws_on_the_axes_it_is_given() -> None:
    _, ax = plt.subplots()
    assert plots.loss_curves(HISTORY, ax=ax) is ax
    assert plots.confusion_matrix(MATRIX, ax=ax) is ax


def test_a_single_epoch_can_be_drawn() -> None:
    figure = plots.training_curves(HISTORY.head(1), title="one epoch")
    figure.canvas.draw()
    assert figure.get_suptitle() == "one epoch"
    assert [[text.get_text() for text in ax.get_xticklabels()] for ax in figure.axes] == [["0", "1"], ["0", "1"]]


SEEDS = PairedEffect("none", "dropout", "accuracy", "seed", False, (0.9, 0.92), (0.93, 0.91), 0.01, (-0.02, 0.04))
REPEATS = PairedEffect("array", "generator", "seconds", "repeat", True, (1.0, 1.1), (1.2, 1.4), 1.24, (1.1, 1.4))


def points(drawn: Any) -> list[float]:
    """Return the x coordinates of circles, or of the ends of a bar."""
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
    assert [line[0][0] for line in lines(ax)[:2]] == pytest.approx([0, 1])  # no effect; the mean
    (side,) = ax.patches
    assert side.get_path().get_extents(side.get_transform() - ax.transData).x0 == pytest.approx(-1)
    assert ax.get_xlabel() == "dropout - none, points of accuracy"


def test_paired_interval_of_a_ratio_is_about_one() -> None:
    ax = plots.paired_interval(REPEATS)
    circles, bar = ax.collections
    assert points(circles) == pytest.approx([1.2, 1.4 / 1.1])
    assert points(bar) == pytest.approx([1.1, 1.4])
    assert lines(ax)[0][0][0] == 1
    assert ax.get_xlabel() == "generator / array"


def test_paired_comparison_has_the_given_title_and_two_axes() -> None:
    figure = plots.paired_comparison(REPEATS, title="slower: holds", threshold=1.5)
    figure.canvas.draw()
    assert figure.get_suptitle() == "slower: holds"
    assert len(figure.axes) == 2


def test_the_diagonal_is_not_part_of_the_colour_scale() -> None:
    ax = plots.confusion_matrix(MATRIX)
    (errors,) = ax.images
    assert errors.get_clim() == (0, 7)
    assert (np.ma.getmaskarray(np.ma.asarray(errors.get_array())) == np.eye(10, dtype=bool)).all()
    places = {text.get_position(): text.get_text() for text in ax.texts}
    assert all(places[column, row] == str(MATRIX[row][column] or "") for row in range(10) for column in range(10))
    shown = {text.get_text() for text in ax.texts}
    assert {"100", "7", "2"} <= shown
    assert "0" not in shown


def test_normalised_rows_are_per_cent_of_the_true_digit() -> None:
    ax = plots.confusion_matrix(MATRIX, normalize=True)
    assert ax.images[0].get_clim()[1] == pytest.approx(700 / 107)
    assert {"6.5", "93.5", "2.0"} <= {text.get_text() for text in ax.texts}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("prediction", "true digit")


def test_a_matrix_without_errors_or_images_can_be_drawn() -> None:
    for matrix in np.diag(np.full(10, 5)), np.zeros((10, 10), int):
        plots.confusion_matrices(matrix, title="no errors").canvas.draw()


PROBABILITIES = np.random.default_rng(0).dirichlet(np.full(10, 0.2), 300)
LABELS = np.random.default_rng(1).integers(0, 10, 300)


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_the_most_frequent_error_is_the_topmost_bar() -> None:
    ax: Any = plots.confused_pairs_bars(confused_pairs(MATRIX), title="two kinds")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["4 predicted as 9", "9 predicted as 4"]
    assert ax.yaxis_inverted()
    assert [bar.get_width() for bar in ax.patches] == [7, 2]
    assert texts(ax) == ["7", "2"]


def test_scores_are_drawn_with_their_intervals() -> None:
    table = per_class_table(MATRIX)
    ax: Any = plots.class_scores(table)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["precision", "recall", "F1"]
    recall = ax.containers[1]
    np.testing.assert_allclose(np.array(recall.lines[0].get_ydata(), float), table["recall"])
    ends = [segment[:, 1] for segment in recall.lines[2][0].get_segments()]
    np.testing.assert_allclose(np.array(ends, float), table[["recall_low", "recall_high"]].to_numpy())


def test_each_image_has_its_caption_and_all_axes_are_off() -> None:
    images = np.arange(10 * 28 * 28).reshape(10, 28, 28) % 256
    figure = plots.image_grid(images, [f"image {i}" for i in range(10)], title="ten", columns=4)
    shown: list[Any] = [ax for ax in figure.axes if ax.images]
    assert (len(figure.axes), [ax.get_title() for ax in shown]) == (12, [f"image {i}" for i in range(10)])
    np.testing.assert_array_equal(np.ma.getdata(shown[3].images[0].get_array()), images[3])
    assert not any(ax.axison for ax in figure.axes)
    plots.image_grid(images[:0], [], title="none").canvas.draw()


def test_the_map_marks_incorrect_predictions() -> None:
    points = np.arange(20.0).reshape(10, 2)
    incorrect = np.arange(10) % 4 == 1
    ax = plots.digit_map(points, np.arange(10), incorrect=incorrect)
    collections: list[Any] = list(ax.collections)
    *digits, rings = collections
    np.testing.assert_array_equal(np.concatenate([mark.get_offsets() for mark in digits]), points)
    np.testing.assert_array_equal(rings.get_offsets(), points[incorrect])


def test_a_reliability_diagram_shows_each_filled_bin_and_its_images() -> None:
    found = calibration.reliability_bins(PROBABILITIES, LABELS, bins=10)
    ax: Any = plots.reliability_diagram(found)
    points = ax.containers[0].lines[0].get_xydata()
    filled = found.n > 0
    np.testing.assert_allclose(points, np.column_stack([found.confidence, found.accuracy])[filled])
    assert texts(ax) == [f"{n:,}" for n in found.n[filled]] + ["images"]
    figure = plots.reliability_before_after(found, found, title="the same")
    assert [ax.get_title() for ax in figure.axes] == ["Before temperature scaling", "After temperature scaling"]


def test_risk_and_coverage_with_the_chosen_threshold() -> None:
    curve = risk_coverage(PROBABILITIES, LABELS)
    chosen = selective_accuracy(0.7, PROBABILITIES, LABELS)
    figure: Any = plots.risk_coverage_curve(curve, chosen, goal=0.9, title="deferred")
    left, right = figure.axes
    np.testing.assert_allclose(right.lines[0].get_xydata(), np.column_stack([1 - curve["coverage"], curve["risk"]]))
    assert right.lines[-1].get_xydata().tolist() == [[chosen.deferred, 1 - chosen.accuracy]]
    assert left.lines[-1].get_xydata().tolist() == [[0.7, chosen.accuracy]]
    nothing = selective_accuracy(np.inf, PROBABILITIES, LABELS)
    plots.risk_coverage_curve(curve, nothing, goal=0.9, title="nothing predicted").canvas.draw()


def test_coverage_of_sets_with_intervals_and_mean_size() -> None:
    half = PROBABILITIES[:150], PROBABILITIES[:150].argmax(axis=1)
    table = conformal.coverage_table((0.9, 0.95, 0.995), half, (PROBABILITIES[150:], LABELS[150:]))
    table.loc[2, ["coverage", "high"]] = 1.0
    figure: Any = plots.coverage_of_sets(table, title="sets")
    left, right = figure.axes
    edge = 1 - 0.005 / 4
    np.testing.assert_allclose(left.containers[0].lines[0].get_ydata(), [*table["coverage"][:2], edge])
    ends = [segment[:, 1] for segment in left.containers[0].lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, table[["low", "high"]].clip(upper=edge))
    np.testing.assert_allclose(right.lines[1].get_xydata(), table[["nominal", "mean_size"]])
    assert [label.get_text() for label in left.get_xticklabels()] == ["90", "95", "99.5"]
    figure.canvas.draw()


def test_bars_of_each_digit_are_side_by_side() -> None:
    table = pd.DataFrame({"one": np.linspace(0, 1, 10), "other": np.linspace(1, 0, 10)})
    ax: Any = plots.digit_bars(table, ylabel="share")
    one, other = ax.containers
    np.testing.assert_allclose([bar.get_height() for bar in one], table["one"])
    ends, starts = [bar.get_x() + bar.get_width() for bar in one], [bar.get_x() for bar in other]
    np.testing.assert_allclose(ends, starts, atol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "other"]


def test_the_histogram_stacks_correct_on_incorrect() -> None:
    ax: Any = plots.confidence_histogram([0.99, 0.98, 0.97, 0.52], [True, False, True, True])
    incorrect, correct = ax.containers
    assert [bar.get_height() for bar in incorrect][-1] == 1
    assert (correct[-1].get_y(), correct[-1].get_height()) == (1, 2)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["incorrect (1)", "correct (3)"]


def test_the_prediction_is_the_bar_of_another_colour() -> None:
    values = np.full(10, 0.05)
    values[7] = 0.55
    left, right = plots.picture_and_prediction(np.zeros((30, 40, 3)), values, title="a seven").axes
    bars: list[Any] = list(right.patches)
    assert [bar.get_height() for bar in bars] == values.tolist()
    assert [i for i, bar in enumerate(bars) if bar.get_facecolor() != bars[0].get_facecolor()] == [7]
    assert left.images[0].get_array().shape == (30, 40, 3)  # type: ignore[union-attr]


def test_latencies_are_medians_and_tails() -> None:
    table = pd.DataFrame({"p50": [0.25, 40.0], "p99": [0.5, 80.0]}, index=["LiteRT", "Keras"])
    ax: Any = plots.latencies(table)
    assert ax.get_xscale() == "log"
    _, medians, tails = ax.collections
    np.testing.assert_array_equal(medians.get_offsets(), [[0.25, 0], [40, 1]])
    np.testing.assert_array_equal(tails.get_offsets(), [[0.5, 0], [80, 1]])
    assert texts(ax) == ["0.25 ms", "40 ms"]


# --- the data set -----------------------------------------------------------------------------------------


def test_class_balance_is_in_per_cent_of_each_part() -> None:
    counts = pd.DataFrame({"training": [30, 10], "validation": [1, 1], "test": [0, 4]})
    ax = plots.class_balance(counts, title="balance")
    assert [[bar.get_height() for bar in bars] for bars in ax.containers] == [[75, 25], [50, 50], [0, 100]]
    assert ax.get_title() == "balance"


def test_rows_of_images_have_their_digit_even_if_one_is_short() -> None:
    rows = [np.full((count, 28, 28), value) for count, value in ((2, 200), (3, 100), (0, 0))]
    ax = plots.image_rows(rows)
    sheet = np.asarray(ax.images[0].get_array())
    assert sheet.shape == (3 * 29 - 1, 3 * 29 - 1)
    assert (sheet[:28, 29 : 29 + 28] == 200).all()
    assert (sheet[29 : 29 + 28, 58:] == 100).all()
    assert (sheet[:28, 58:] == sheet[28, 0]).all()  # empty
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "1", "2"]


def test_means_are_above_standard_deviations() -> None:
    figure = plots.class_means(np.full((10, 28, 28), 7.0), np.full((10, 28, 28), 3.0), title="means")
    shown = [float(np.asarray(ax.images[0].get_array()).mean()) for ax in figure.axes[:20]]
    assert shown == [7] * 10 + [3] * 10
    figure.canvas.draw()


def test_pixels_without_ink_are_marked() -> None:
    used = np.full((28, 28), 0.5)
    used[0, 3] = used[27, 27] = 0
    levels = np.zeros(256, int)
    levels[0], levels[255] = 75, 25
    figure = plots.pixel_use(levels, used, title="use")
    left, right = figure.axes[:2]
    heights = [bar.get_height() for bar in left.patches]  # type: ignore[attr-defined]
    assert (heights[0], heights[-1], len(heights)) == (75, 25, 32)
    assert np.asarray(right.lines[0].get_xydata()).tolist() == [[3, 0], [27, 27]]


def test_boxes_are_drawn_on_the_axes_given_and_nan_is_left_out() -> None:
    _, ax = plt.subplots()
    assert plots.values_by_digit([1.0, 3, 4, np.nan, 5], [0, 0, 0, 0, 1], name="width", ax=ax) is ax
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1"]
    horizontal = [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 2 and np.ptp(line.get_ydata()) == 0]  # type: ignore[arg-type, index]
    assert {3, 5, 3.5} <= set(horizontal)  # the medians of both, and of all
    assert ax.get_ylabel() == "width"


def test_neighbour_distances_are_shares_of_each_part() -> None:
    ax = plots.nearest_distances({"training": np.array([1.0, 2.0]), "test": np.array([4.0])})
    assert np.asarray(ax.lines[0].get_ydata()).tolist() == [0, 0.5, 1]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training, 2 images", "test, 1 images"]


def test_a_pair_is_drawn_with_its_signed_difference() -> None:
    first, second = np.full((2, 28, 28), 10, np.uint8), np.full((2, 28, 28), 250, np.uint8)
    figure = plots.image_pairs(first, second, ["a", "b"], names=("test", "training"), title="pairs")
    assert (np.asarray(figure.axes[4].images[0].get_array()) == -240).all()
    assert [ax.get_title() for ax in figure.axes[:2]] == ["a", "b"]
    assert [figure.axes[i].get_ylabel() for i in (0, 2, 4)] == ["test", "training", "difference"]
    plots.image_pairs(first, first, ["a", "b"], names=("test", "training"), title="no difference").canvas.draw()


def test_the_large_digits_on_a_map_do_not_overlap() -> None:
    points = np.array([[0.0, 0], [0, 0], [0, 0.01], [100, 100], [100, 100], [100, 100]])
    ax = plots.digit_map(points, np.array([3, 3, 4, 9, 9, 9]))
    at = {text.get_text(): np.array(text.get_position()) for text in ax.texts}
    assert set(at) == {"3", "4", "9"}
    np.testing.assert_allclose(at["9"], [100, 100])
    assert 4.9 <= np.linalg.norm(at["3"] - at["4"]) < 5.1
    assert len(ax.collections) == 3


# --- explanations ---


def test_each_explanation_is_a_row() -> None:
    def explained(predicted: int, other: int, flips_to: int, l2_norm: float) -> attribution.Attribution:
        image, evidence = np.full((28, 28), 9, np.uint8), np.zeros((28, 28), np.float32)
        evidence[3, 4], changed = -2.5, image.copy()
        changed[5, 6] = 2
        return attribution.Attribution(
            image=image,
            predicted=predicted,
            other=other,
            evidence=evidence,
            margin=-2.2,
            baseline_margin=0.3,
            completeness_error=0.0,
            neighbours=np.stack([image, image]),
            neighbour_labels=np.array([9, 4]),
            changed=changed if np.isfinite(l2_norm) else image,
            changed_prediction=flips_to,
            l2_norm=l2_norm,
        )

    flip, none = explained(9, 4, 4, 0.5), explained(3, 5, 3, np.inf)
    figure = plots.attribution_rows([flip, none], title="why")
    captions = [ax.get_title().split("\n") for ax in figure.axes]
    assert captions[:2] == [["4", "predicted 9"], ["for 9 / 4, nat", "sum -2.5, baseline +0.3"]]
    assert captions[2:4] == [["neighbour", "9"], ["neighbour", "4"]]
    assert captions[4:6] == [["L2 norm 0.50", "range \u00b17 / 255"], ["flips to 4", ""]]
    assert captions[6] == ["5", "predicted 3"]
    assert captions[10:] == [["no flip found", ""], [""]]
    limits = [figure.axes[i].images[0].get_clim() for i in (1, 4, 10)]
    assert limits == [(-2.5, 2.5), (-7, 7), (-1, 1)]  # the strongest colour is the largest value


def test_digit_boxes_lie_where_the_digits_are() -> None:
    picture = np.ones((100, 200, 3), np.float32)
    ax = plots.digit_boxes(picture, [((0.1, 0.2, 0.3, 0.8), "7"), ((0.5, 0.2, 0.7, 0.8), "1")], title="71")
    first, second = ax.patches
    assert [*first.get_bbox().extents] == pytest.approx([20, 20, 60, 80])  # type: ignore[attr-defined]
    assert [*second.get_bbox().extents] == pytest.approx([100, 20, 140, 80])  # type: ignore[attr-defined]
    assert [text.get_text() for text in ax.texts] == ["7", "1"]
    assert ax.get_title() == "71"


def test_a_learning_curve_shows_each_seed_and_the_mean() -> None:
    trials = pd.DataFrame(
        {"images": [100, 100, 100, 1000, 1000, 1000], "seed": [0, 1, 2] * 2, "accuracy": [0.8, 0.84, 0.79, 0.96, 1.0, 0.94]}
    )
    ax: Any = plots.learning_curve(trials, title="more images")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 1], [0.2, 0.16, 0.21, 0.04, 0.06])  # not the 0
    bar = ax.containers[0]
    np.testing.assert_allclose(bar.lines[0].get_xydata(), [[100, 0.19], [1000, 0.1 / 3]])
    low, high = bar.lines[2][0].get_segments()[0][:, 1]
    half = 4.302653 * np.std([0.2, 0.16, 0.21], ddof=1) / np.sqrt(3)  # Student's t with two degrees of freedom
    assert (low, high) == pytest.approx((0.19 - half, 0.19 + half), rel=1e-5)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["100", "1,000"]
    ax.figure.canvas.draw()
    plots.learning_curve(trials.assign(accuracy=1.0)).figure.canvas.draw()
    plots.learning_curve(trials.head(1)).figure.canvas.draw()


def test_power_is_a_line_for_each_number_of_images() -> None:
    table = pd.DataFrame({"n": [100, 100, 200, 200], "difference": [0, 0.01] * 2, "power": [0.05, 0.4, 0.05, 0.7]})
    ax: Any = plots.power_curves(table, title="power")
    assert [line.get_xydata().tolist() for line in ax.lines[:2]] == [[[0, 0.05], [1, 0.4]], [[0, 0.05], [1, 0.7]]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["n = 100", "n = 200"]
    ax.figure.canvas.draw()


def test_flips_that_were_not_found_count_as_infinitely_far() -> None:
    ax = plots.flip_norms({"errors": np.array([0.2, 0.1]), "the rest": np.array([3.0, np.inf, 1.0, 2.0])})
    few, many = ax.get_lines()
    assert np.asarray(few.get_xydata()).ravel().tolist() == [0.1, 0.5, 0.2, 1]
    assert np.asarray(many.get_xydata()).ravel().tolist() == [1, 0.25, 2, 0.5, 3, 0.75]
    assert [line.get_label() for line in (few, many)] == ["errors, n = 2", "the rest, n = 4"]


def test_the_mean_of_a_learning_curve_is_on_its_axis() -> None:
    trials = pd.DataFrame({"images": [1000] * 3, "seed": [0, 1, 2], "epochs": 1, "accuracy": [1, 1, 0.999]})
    assert plots.learning_curve(trials).get_ylim()[0] < 0.001 / 3
