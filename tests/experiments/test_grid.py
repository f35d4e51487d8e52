from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import load_dataset
from mnist_utils.experiments import grid
from tests.data.test_own import write_shapes


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("0,0.25, 0.5", ["0", "0.25", "0.5"]),
        ("fast", ["fast"]),
        (3, ["3"]),
        ([1, 2.5, "1"], ["1", "2.5"]),
        ("64, 64,128", ["64", "128"]),
        ("0:5", ["0", "1", "2", "3", "4"]),
        ("2:9:3", ["2", "5", "8"]),
        ("0.1..0.5", grid.ValueRange(0.1, 0.5, log=False)),
        ("log:1e-3..0.1", grid.ValueRange(0.001, 0.1, log=True)),
    ],
)
def test_values_are_read(given: Any, values: Any) -> None:
    assert grid.parse_values("conv_dropout", given) == values


@pytest.mark.parametrize("given", ["5:5", "5:2", "0:9:0", "0:10000000", "0:99999999999999999999"])
def test_a_range_without_end_or_content_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: low:high with 1 to 100,000 values \(0:5 is"):
        grid.parse_values("seed", given)


@pytest.mark.parametrize("given", ["0.5..0.1", "log:0..1", "a..b", "0..inf", "0..nan"])
def test_a_bad_interval_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: low\.\.high"):
        grid.parse_values("seed", given)


def test_a_grid_is_every_combination_with_the_seeds_innermost() -> None:
    found = grid.combine_values({"seed": "0:2", "batch_size": "64,256", "conv_dropout": "0,0.5"})
    assert len(found) == 8
    assert found[:3] == [
        {"batch_size": "64", "conv_dropout": "0", "seed": "0"},
        {"batch_size": "64", "conv_dropout": "0", "seed": "1"},
        {"batch_size": "64", "conv_dropout": "0.5", "seed": "0"},
    ]


def test_a_random_sample_is_distinct_the_same_again_and_takes_every_seed() -> None:
    given = {"learning_rate": "log:0.001..0.1", "batch_size": "64,256", "seed": "0:3"}
    found = grid.combine_values(given, random=20)
    assert found == grid.combine_values(given, random=20)
    assert len(found) == 60
    drawn = [one for one in found if one["seed"] == "0"]
    rates = sorted(one["learning_rate"] for one in drawn)
    assert len({repr(one) for one in drawn}) == 20
    assert 0.001 <= rates[0] < 0.005 < 0.02 < rates[-1] <= 0.1  # evenly in the logarithm: half lie below 0.01
    assert 4 <= sum(rate < 0.01 for rate in rates) <= 16
    assert found[:30] == grid.combine_values(given, random=10)  # more are more of the same


def test_whole_numbers_are_drawn_for_parameters_that_are_whole() -> None:
    found = grid.combine_values({"batch_size": "log:32..512", "conv_dropout": "0..0.5"}, random=10)
    assert all(isinstance(one["batch_size"], int) and 32 <= one["batch_size"] <= 512 for one in found)
    assert all(isinstance(one["conv_dropout"], float) for one in found)
    assert len(grid.make_trials({"dataset": "digits", "epochs": "1..3"}, random=3)[0]) == 3
    optional = grid.combine_values({"patience": "1..50", "train_limit": "log:200..900"}, random=4)
    assert all(isinstance(one["patience"], int) and isinstance(one["train_limit"], int) for one in optional)


@pytest.mark.parametrize("log", [False, True])
def test_each_whole_number_of_an_interval_is_drawn_as_often_and_none_beyond(log: bool) -> None:
    random = np.random.RandomState(0)  # what scikit-learn hands on
    drawn = [int(grid.ValueRange(1, 3, log, integer=True).rvs(random)) for _ in range(3000)]
    # In logarithms, 1, 2 and 3 stand for 0.5 to 1.5, to 2.5, to 3.5.
    wanted = np.log([3, 5 / 3, 7 / 5]) / np.log(7) if log else np.full(3, 1 / 3)
    assert sorted(set(drawn)) == [1, 2, 3]
    assert np.bincount(drawn, minlength=4)[1:] / 3000 == pytest.approx(wanted, abs=0.03)


def test_what_is_drawn_stays_within_its_interval_though_it_is_rounded() -> None:
    random = np.random.RandomState(0)
    assert all(0.123456 <= grid.ValueRange(0.123456, 0.123457, log=False).rvs(random) <= 0.123457 for _ in range(20))


def test_a_random_draw_of_few_combinations_takes_them_all() -> None:
    assert len(grid.combine_values({"batch_size": "64,128,256", "seed": "0:2"}, random=5)) == 6


@pytest.mark.parametrize(
    ("given", "random", "words"),
    [
        ({"conv_dropout": "0..0.5"}, None, r"conv_dropout: given 0\.\.0\.5, a continuous range; say how many"),
        ({"seed": "0..5"}, 3, r"seed: given 0\.\.5; allowed: a list"),
        ({"epochs": "1.2..1.8"}, 3, r"epochs: given 1\.2\.\.1\.8, with no whole number in it"),
        ({"batch_size": "64"}, 0, "random: given 0; allowed: from 1"),
        ({"seed": "0:3"}, 2, "random: given 2, but only seeds vary"),
        ({"batch_size": "1:1000", "seed": "0:1000"}, None, "999,000 trials; allowed: up to 100,000"),
        ({"seed": "3:1"}, None, "seed: given 3:1"),
        ({"batch_size": []}, None, "batch_size: given an empty list"),
        (
            {"conv_dropout": "0.1..0.1001"},
            5,
            "random: given 5; the values given make only about 2 different settings",
        ),
        ({"learning_rate": "0.1..0.2", "seed": "0:10"}, 50_000, "500,000 trials; allowed: up to 100,000"),
    ],
)
def test_what_cannot_be_combined_is_refused(given: dict[str, Any], random: int | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        grid.combine_values(given, random=random)


def test_every_bad_value_is_told_of_once_before_anything_begins() -> None:
    with pytest.raises(ConfigError) as refused:
        grid.make_trials({"conv_dropout": "0,2", "batch_size": "64,-1", "model": "fast", "sed": "0:3"})
    lines = str(refused.value).splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert any(line.startswith("conv_dropout: given 2; allowed: a number from 0 below 1") for line in lines)
    assert any(line.startswith("batch_size: given -1") for line in lines)
    assert any(line.startswith("sed: no such hyper-parameter") for line in lines)


def test_trials_are_known_by_what_they_do() -> None:
    trials, note = grid.make_trials({"dataset": "digits", "batch_size": "64,128", "seed": "0:2"})
    assert [(trial.config.batch_size, trial.config.seed) for trial in trials] == [(64, 0), (64, 1), (128, 0), (128, 1)]
    assert note == ""
    again, _ = grid.make_trials({"dataset": "digits", "batch_size": [128, "64", "64"], "seed": "1,0"})
    assert {trial.key for trial in again} == {trial.key for trial in trials}  # none twice
    assert len(again) == 4
    same, _ = grid.make_trials({"dataset": "digits", "learning_rate": "0.01,0.010,1e-2"})
    assert [trial.config.learning_rate for trial in same] == [0.01]
    # 128 is the default: given or not, it is the same trial.
    assert {trial.key for trial in grid.make_trials({"dataset": "digits", "seed": "0:2"})[0]} == {p.key for p in trials[2:]}
    assert grid.sweep_name(trials) == grid.sweep_name(again)
    assert grid.sweep_name(trials).startswith("batch_size-")
    assert grid.sweep_name(trials) != grid.sweep_name(trials[:2])


@pytest.mark.parametrize("given", [{"dataset": "digits,fashion_mnist"}, {"validation_fraction": "0.1,0.2"}])
def test_what_cannot_be_compared_in_the_end_is_refused_before(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_dataset("digits")
    monkeypatch.setattr(grid, "load_dataset", lambda name, **_: replace(digits, name=name))
    (field,) = given
    with pytest.raises(ConfigError, match=f"{field}: given .*; allowed: one in a sweep"):
        grid.make_trials({"dataset": "digits"} | given)


def test_auto_is_settled_once_for_all_trials() -> None:
    trials, note = grid.make_trials({"seed": "0:2"})
    assert {trial.config.dataset for trial in trials} == {"digits"}
    assert {trial.config.epochs for trial in trials} == {10}  # the recipe for digits
    assert "digits" in note


def test_a_flag_is_swept_over_the_same_pictures_read_in_two_ways(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 12)
    trials, note = grid.make_trials({"dataset": str(folder), "raw": "true,false"})
    assert {trial.config.raw: trial.sha256 for trial in trials} == {
        raw: load_dataset(str(folder), raw=raw).sha256 for raw in (True, False)
    }
    assert grid.varied_parameters(trials) == ["raw"]
    assert grid.sweep_name(trials).startswith("raw-")
    assert "taken for white on black" in note
    assert note.count("has no test part") == 1


def test_a_trial_of_an_earlier_version_keeps_its_key() -> None:
    later = "raw", "skip_unreadable", "optimizer", "momentum", "weight_decay", "from_run", "freeze"
    (trial,) = grid.make_trials({"dataset": "digits"})[0]
    fields = {name: value for name, value in trial.config.model_dump().items() if name not in later}
    text = json.dumps(fields | {"sha256": trial.sha256}, sort_keys=True)
    assert trial.key == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_reading_in_two_ways_that_leave_out_other_pictures_is_refused(tmp_path: Path) -> None:
    given = {"dataset": str(write_shapes(tmp_path / "shapes", 12)), "raw": "true,false", "skip_unreadable": "true"}
    with pytest.raises(ConfigError, match="raw: given false, true with skip_unreadable; allowed: one of them"):
        grid.make_trials(given)
    with pytest.raises(ConfigError, match="raw: given with the data set digits, which holds no pictures"):
        grid.make_trials({"dataset": "digits", "raw": "true,false"})
    with pytest.raises(ConfigError, match="raw: given maybe; allowed: true, false"):
        grid.make_trials({"raw": "maybe"})
