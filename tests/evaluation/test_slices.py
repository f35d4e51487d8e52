from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation import slices
from mnist_utils.evaluation.slices import image_slices, slice_errors
from mnist_utils.evaluation.statistics import holm_correction, wilson_interval


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")  # type: ignore[return-value]


def fisher(a: int, n: int, errors: int, total: int) -> float:
    """Sum the probabilities of all tables that are at most as probable as that with `a` of the errors among n images."""
    ways = {k: comb(n, k) * comb(total - n, errors - k) for k in range(max(0, errors - (total - n)), min(n, errors) + 1)}
    return sum(count for count in ways.values() if count <= ways[a]) / comb(total, errors)


def test_the_halves_of_mnist_by_hand() -> None:
    """Use counts of a model: 43 of its 55 errors are among the first 5,000 images."""
    incorrect = np.zeros(10_000, bool)
    incorrect[np.r_[:43, 5000:5012]] = True
    first, last = rows(slice_errors(incorrect, {"place": np.repeat(["first", "last"], 5000)}))
    assert [first[name] for name in ("group", "slice", "n", "errors", "rate")] == ["place", "first", 5000, 43, 0.0086]
    assert (first["low"], first["high"]) == wilson_interval(43, 5000)
    assert first["odds_ratio"] == pytest.approx(43 * 4988 / (4957 * 12))
    assert first["odds_ratio"] == pytest.approx(3.6, abs=0.01)
    assert last["odds_ratio"] == pytest.approx(1 / first["odds_ratio"])
    assert first["p_value"] == pytest.approx(2 * fisher(43, 5000, 55, 10_000))  # Holm's correction: of two rows


def test_each_kind_of_group_gives_its_slices() -> None:
    incorrect = np.arange(20) < 4
    table = slice_errors(
        incorrect,
        {
            "even": np.arange(20) % 2 == 0,
            "kind": np.array(["b", "a"] * 10),
            "value": np.arange(20)[::-1] / 10,
        },
    )
    assert table["group"].tolist() == ["even"] + ["kind"] * 2 + ["value"] * 5
    assert table["slice"].tolist()[:3] == ["even", "b", "a"]
    assert table["slice"].tolist()[3:] == [
        "0.00 to 0.30",
        "0.40 to 0.70",
        "0.80 to 1.10",
        "1.20 to 1.50",
        "1.60 to 1.90",
    ]
    assert table["n"].tolist() == [10, 10, 10, 4, 4, 4, 4, 4]
    assert table["errors"].tolist() == [2, 2, 2, 0, 0, 0, 0, 4]
    assert table["odds_ratio"].tolist()[-1] == np.inf
    uncorrected = [fisher(a, n, 4, 20) for a, n in zip(table["errors"], table["n"], strict=True)]
    assert table["p_value"].tolist() == pytest.approx(holm_correction(uncorrected).tolist())
    assert uncorrected[-1] == pytest.approx(1 / comb(20, 4))


def test_equal_values_stay_together_and_nan_is_in_no_slice() -> None:
    values = np.array([1.0] * 7 + [2, 3] + [np.nan])
    table = slice_errors(np.arange(10) == 9, {"value": values})
    assert table["n"].tolist() == [7, 2]  # the highest fifth begins between 1 and 2
    assert table["errors"].tolist() == [0, 0]
    assert table["odds_ratio"].tolist() == [0, 0]  # the error is among the others
    assert slice_errors(np.arange(10) == 9, {"equal": np.ones(10)})["n"].tolist() == [10]
    assert slice_errors(np.arange(2) == 1, {"none": np.full(2, np.nan)}).empty


def test_of_slices_without_a_difference_few_tables_have_a_low_p_value() -> None:
    random, found = np.random.default_rng(0), 0
    for _ in range(200):
        table = slice_errors(random.random(400) < 0.1, {name: random.random(400) for name in "abc"})
        found += int((table["p_value"] < 0.05).any())
    assert found <= 18  # 5 %, and what 200 draws can be off; without the correction, half of the tables have one


def test_a_value_for_each_image() -> None:
    with pytest.raises(ValueError, match=r"slant: given shape \(3,\)"):
        slice_errors(np.zeros(4, bool), {"slant": np.zeros(3)})


def test_slices_of_names_that_round_to_the_same_are_kept_apart() -> None:
    values = np.array([0, 0, 0, 0, 1e-5, 2e-5, 3e-5, 1, 1, 1])
    table = slice_errors(np.zeros(10, bool), {"value": values})
    assert table["n"].sum() == 10


def test_images_are_sliced_by_strokes_and_ink_and_the_place_only_in_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_dataset("digits").x_test[:6]
    found = image_slices(images, "digits")
    assert list(found) == ["stroke thickness, pixels", "slant, degrees", "ink, % of white"]
    assert found["ink, % of white"].tolist() == pytest.approx([image.sum() / 784 / 2.55 for image in images.astype(float)])
    assert list(image_slices(images, "mnist")) == list(found)  # not all of its test images
    monkeypatch.setattr(slices, "stroke_thickness", lambda images: np.zeros(len(images)))  # takes seconds
    blank = np.zeros((10_000, 28, 28), np.uint8)
    place = image_slices(blank, "mnist")["place in the test set"]
    assert (place == "first half").nonzero()[0].tolist() == list(range(5000))
