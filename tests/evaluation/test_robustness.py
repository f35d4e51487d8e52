from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support.arrays import Images
from mnist_utils._support.own_function import read_function
from mnist_utils.data.corruptions import MNIST_C, OTHERS, corrupt
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.data.graded_corruptions import corrupt_graded
from mnist_utils.evaluation import robustness
from mnist_utils.evaluation.robustness import Robustness, measure_robustness
from mnist_utils.evaluation.statistics import mcnemar_test, wilson_interval


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


def predict(images: Images) -> NDArray[Any]:
    """Predict from the brightness, which says little of the digit."""
    return np.asarray(np.eye(10)[(images.mean(axis=(1, 2)) / 8).astype(int) % 10])


@pytest.fixture(scope="module")
def found(digits: Dataset) -> Robustness:
    return measure_robustness(predict, digits.x_test, digits.y_test, others=(digits,), seed=3)


def test_a_row_for_each_corruption_and_data_set(found: Robustness, digits: Dataset) -> None:
    assert list(found.table.index) == ["clean", *MNIST_C, *OTHERS, "digits"]
    assert list(found.table["group"].unique()) == ["clean", "MNIST-C", "ours", "other data"]
    assert (found.table["n"] == len(digits.x_test)).all()
    assert found.samples.shape == (len(found.table), 6, 28, 28)
    np.testing.assert_array_equal(found.samples[0], digits.x_test[:6])


def test_rows_agree_with_predicting_the_corrupted_images(found: Robustness, digits: Dataset) -> None:
    clean = predict(digits.x_test).argmax(axis=1) == digits.y_test
    for name in "fog", "thin_pen":
        probabilities = predict(corrupt(digits.x_test, name, 3))
        correct = probabilities.argmax(axis=1) == digits.y_test
        row = found.table.loc[name]
        assert row["accuracy"] == correct.mean()
        assert row["confidence"] == pytest.approx(probabilities.max(axis=1).mean())
        assert (row["low"], row["high"]) == wilson_interval(correct.sum(), len(correct))
        assert row["difference"] == pytest.approx(correct.mean() - clean.mean())
        assert mcnemar_test(clean, correct).p_value <= row["p_value"] <= 20 * mcnemar_test(clean, correct).p_value
    assert found.table.loc[["clean", "digits"], ["difference", "p_value"]].isna().all(axis=None)


def test_mean_and_worst(found: Robustness) -> None:
    fifteen = found.table.loc[list(MNIST_C), "accuracy"]
    assert found.mean == pytest.approx(fifteen.mean())
    assert found.mean_interval[0] < found.mean < found.mean_interval[1]
    assert found.worst == fifteen.idxmin()
    assert found.worst_accuracy == fifteen.min()


def test_the_interval_has_the_width_of_the_binomial_distribution() -> None:
    # Each prediction is correct with probability 0.9, so the share of each image is binomial.
    random = np.random.default_rng(0)

    def guess(images: Images) -> NDArray[Any]:
        return np.asarray(np.eye(10)[(random.random(len(images)) > 0.9).astype(int)])

    x, y = np.zeros((400, 28, 28), np.uint8), np.zeros(400, int)
    found = measure_robustness(guess, x, y)
    half = (found.mean_interval[1] - found.mean_interval[0]) / 2
    assert half == pytest.approx(1.96 * np.sqrt(0.9 * 0.1 / 15 / 400), rel=0.15)


def test_a_single_image_has_no_interval(digits: Dataset) -> None:
    found = measure_robustness(predict, digits.x_test[:1], digits.y_test[:1])
    assert np.isnan(found.mean_interval).all()
    assert 0 <= found.mean <= 1


def test_the_interval_is_clipped_to_0_and_1() -> None:
    x, y = np.zeros((20, 28, 28), np.uint8), np.r_[0, np.ones(19)].astype(int)
    low, high = measure_robustness(lambda images: np.eye(10)[np.zeros(len(images), int)], x, y).mean_interval
    assert low == 0
    assert 0.05 < high < 0.2


def test_reports_each_step(digits: Dataset) -> None:
    steps: list[tuple[int, int]] = []
    measure_robustness(
        predict, digits.x_test[:5], digits.y_test[:5], others=(digits,), done=lambda *step: steps.append(step)
    )
    assert steps == [(i, 22) for i in range(1, 23)]


def test_a_corruption_of_your_own_is_a_row_of_its_own(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def flip(images, random):\n    return images[:, ::-1].copy()\n")
    own = read_function(f"{tmp_path}/mine.py:flip", option="corruption", default="corrupt")
    found = measure_robustness(predict, digits.x_test[:50], digits.y_test[:50], own=(own,))
    row = found.table.loc["mine.py:flip"]
    assert (row["group"], row["n"]) == ("yours", 50)
    assert row["accuracy"] == found.table.loc["clean", "accuracy"]  # upside down, an image is as bright
    np.testing.assert_array_equal(found.samples[-1], digits.x_test[:6, ::-1])
    assert found.mean == pytest.approx(found.table.loc[list(MNIST_C), "accuracy"].mean())


def test_a_corruption_of_yours_takes_no_others_place(digits: Dataset) -> None:
    def fog(images: Images, _: Any) -> Images:
        return images

    own = read_function(fog, option="corruption", default="corrupt")
    with pytest.raises(ConfigError, match="corruption: two are called fog; allowed: a function of another name"):
        measure_robustness(predict, digits.x_test[:5], digits.y_test[:5], own=(own,))


def test_severities_are_measured_one_by_one(digits: Dataset) -> None:
    """The table's numbers are those of a loop."""
    x, y = digits.x_test[:60], digits.y_test[:60]

    table = robustness.measure_severities(predict, x, y, seed=3)
    assert len(table) == 10 * 6
    for name in "snow", "contrast":
        for severity in 0, 2, 5:
            found = predict(corrupt_graded(x, name, severity, 3) if severity else x)
            (row,) = table.query("change == @name and severity == @severity").to_dict("records")
            assert row["accuracy"] == (found.argmax(axis=1) == y).mean()
            assert row["confidence"] == pytest.approx(found.max(axis=1).mean())
            assert row["low"] < row["accuracy"] < row["high"] or row["accuracy"] == 0


def test_the_relative_error_is_a_mean_of_ratios() -> None:
    baseline = pd.Series({"fog": 0.2, "snow": 0.9, "rain": 0.5})
    assert robustness.relative_corruption_error(baseline, baseline) == pytest.approx(1)
    better = pd.Series({"snow": 0.95, "fog": 0.8})  # half and a quarter of the errors, in another order
    assert robustness.relative_corruption_error(better, baseline) == pytest.approx(0.375)


def test_a_corruption_without_errors_of_the_baseline_is_left_out() -> None:
    accuracy = pd.Series({"fog": 0.9, "snow": 0.9, "rain": 1.0})
    assert robustness.relative_corruption_error(accuracy, pd.Series({"fog": 0.8, "snow": 1.0, "rain": 1.0})) == (
        pytest.approx(0.5)
    )
    assert np.isnan(robustness.relative_corruption_error(accuracy, accuracy * 0 + 1))


def test_the_worst_is_one_of_the_fifteen_whatever_else_is_worse(digits: Dataset) -> None:
    x, y = digits.x_test[:80], digits.y_test[:80]

    def right_but_for_inverted(images: Images) -> NDArray[Any]:
        inverted = (images[:, 0, 0] == 255) & (images[:, 0, 14] == 255)
        return np.asarray(np.eye(10)[(y + inverted) % 10])

    found = measure_robustness(right_but_for_inverted, x, y)
    assert found.table["accuracy"].idxmin() == "inverted"
    assert found.worst in MNIST_C


def test_p_values_are_corrected_for_all_rows_of_the_table(found: Robustness, digits: Dataset) -> None:
    clean = predict(digits.x_test).argmax(axis=1) == digits.y_test
    raw = {
        name: mcnemar_test(clean, predict(corrupt(digits.x_test, name, 3)).argmax(axis=1) == digits.y_test).p_value
        for name in (*MNIST_C, *OTHERS)
    }
    in_order = sorted(raw, key=lambda name: raw[name])
    expected, highest = {}, 0.0
    for place, name in enumerate(in_order):  # Holm by hand
        highest = max(highest, min(1.0, raw[name] * (len(raw) - place)))
        expected[name] = highest
    assert found.table["p_value"].dropna().to_dict() == pytest.approx(expected)
