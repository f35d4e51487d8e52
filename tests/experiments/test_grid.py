from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import load_dataset
from mnist_utils.experiments import grid, store
from mnist_utils.runs.run import RunError, list_runs
from tests.fake_runs import fake, write


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
    assert grid.parse_values(given) == values


@pytest.mark.parametrize("given", ["5:5", "5:2", "0:9:0", "0:10000000", "0:99999999999999999999"])
def test_a_range_without_end_or_content_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: 1 to 100,000 \(0:5 is"):
        grid.parse_values(given)


@pytest.mark.parametrize("given", ["0.5..0.1", "log:0..1", "a..b", "0..inf", "0..nan"])
def test_a_bad_interval_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: low\.\.high"):
        grid.parse_values(given)


def test_a_grid_is_every_combination_with_the_seeds_innermost() -> None:
    found = grid.combine_values({"seed": "0:2", "batch_size": "64,256", "conv_dropout": "0,0.5"})
    assert len(found) == 8
    assert found[:3] == [
        {"batch_size": "64", "conv_dropout": "0", "seed": "0"},
        {"batch_size": "64", "conv_dropout": "0", "seed": "1"},
        {"batch_size": "64", "conv_dropout": "0.5", "seed": "0"},
    ]


def test_a_random_draw_is_distinct_the_same_again_and_takes_every_seed() -> None:
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
    random = np.random.default_rng(0)
    drawn = [grid.ValueRange(0.6, 3.4, log, whole=True).draw(random) for _ in range(9000)]
    # In logarithms, 1, 2 and 3 stand for 0.5 to 1.5, to 2.5, to 3.5.
    wanted = np.log([3, 5 / 3, 7 / 5]) / np.log(7) if log else np.full(3, 1 / 3)
    assert sorted(set(drawn)) == [1, 2, 3]
    assert np.bincount(drawn, minlength=4)[1:] / 9000 == pytest.approx(wanted, abs=0.02)


def test_what_is_drawn_stays_within_its_interval_though_it_is_rounded() -> None:
    random = np.random.default_rng(0)
    assert all(0.123456 <= grid.ValueRange(0.123456, 0.123457, log=False).draw(random) <= 0.123457 for _ in range(20))


def test_a_random_draw_of_few_combinations_takes_them_all() -> None:
    assert len(grid.combine_values({"batch_size": "64,128,256", "seed": "0:2"}, random=5)) == 6


@pytest.mark.parametrize(
    ("given", "random", "words"),
    [
        ({"conv_dropout": "0..0.5"}, None, r"conv_dropout: given 0\.\.0\.5, of which there is no end; say how many"),
        ({"seed": "0..5"}, 3, r"seed: given 0\.\.5; allowed: a list"),
        ({"epochs": "1.2..1.8"}, 3, r"epochs: given 1\.2\.\.1\.8, with no whole number in it"),
        ({"batch_size": "64"}, 0, "random: given 0; allowed: from 1"),
        ({"batch_size": "1:1000", "seed": "0:1000"}, None, "999,000 points; allowed: up to 100,000"),
        ({"seed": "3:1"}, None, "seed: given 3:1"),
        ({"batch_size": []}, None, "batch_size: given an empty list"),
        (
            {"conv_dropout": "0.1..0.1001"},
            5,
            "random: given 5; the values that were given make no more than about 2 settings",
        ),
        ({"learning_rate": "0.1..0.2", "seed": "0:10"}, 50_000, "500,000 points; allowed: up to 100,000"),
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


def test_points_are_known_by_what_they_do() -> None:
    points, note = grid.make_trials({"dataset": "digits", "batch_size": "64,128", "seed": "0:2"})
    assert [(point.config.batch_size, point.config.seed) for point in points] == [(64, 0), (64, 1), (128, 0), (128, 1)]
    assert note == ""
    again, _ = grid.make_trials({"dataset": "digits", "batch_size": [128, "64", "64"], "seed": "1,0"})
    assert {point.key for point in again} == {point.key for point in points}  # none twice
    assert len(again) == 4
    # 128 is the default: given or not, it is the same point.
    assert {point.key for point in grid.make_trials({"dataset": "digits", "seed": "0:2"})[0]} == {p.key for p in points[2:]}
    assert grid.sweep_name(points) == grid.sweep_name(again)
    assert grid.sweep_name(points).startswith("batch_size-")
    assert grid.sweep_name(points) != grid.sweep_name(points[:2])


@pytest.mark.parametrize("given", [{"dataset": "digits,fashion_mnist"}, {"validation_fraction": "0.1,0.2"}])
def test_what_cannot_be_compared_in_the_end_is_refused_before(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load_dataset("digits")
    monkeypatch.setattr(grid, "load_dataset", lambda name, **_: replace(digits, name=name))
    (field,) = given
    with pytest.raises(ConfigError, match=f"{field}: given .*; allowed: one in a sweep"):
        grid.make_trials({"dataset": "digits"} | given)


def test_auto_is_settled_once_for_all_points() -> None:
    points, note = grid.make_trials({"seed": "0:2"})
    assert {point.config.dataset for point in points} == {"digits"}
    assert {point.config.epochs for point in points} == {10}  # the recipe for digits
    assert "digits" in note


@pytest.fixture
def point() -> grid.Trial:
    return grid.make_trials({"dataset": "digits", "epochs": 1})[0][0]


def test_a_run_comes_back_as_it_was_packed(tmp_path: Path, point: grid.Trial) -> None:
    run = write(fake("away", 0.75), tmp_path)
    (run / "notebooks").mkdir()
    (run / "notebooks" / "02_train.ipynb").write_text("{}")
    for name in ".lock", "checkpoint.npz":
        (run / name).write_text("x")
    store.store_trial(tmp_path, point.key, store.pack(run), "")
    place = tmp_path / store.TRIALS / point.key
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert files == {"config.json", "metrics.json", "notebooks/02_train.ipynb"}
    assert (place / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert store.pending_trials(tmp_path, [point]) == []


def test_a_failed_point_is_kept_with_its_error_and_replaced_by_the_next_try(tmp_path: Path, point: grid.Trial) -> None:
    assert store.pending_trials(tmp_path, [point]) == [point]
    store.store_trial(tmp_path, point.key, b"", "the kernel died")
    assert store.read_trials(tmp_path, [point])[point.key].incomplete == "the kernel died"
    assert store.pending_trials(tmp_path, [point]) == [point]
    (tmp_path / "tried").mkdir()
    (tmp_path / "tried" / "02_train.ipynb").write_text("{}")
    store.store_trial(tmp_path, point.key, store.pack(tmp_path / "tried"), "a cell failed")
    store.store_trial(tmp_path, point.key, b"", "its worker died")  # of which nothing came back
    assert store.read_trials(tmp_path, [point])[point.key].incomplete == "its worker died"
    assert (tmp_path / store.TRIALS / point.key / "02_train.ipynb").is_file()
    (tmp_path / store.TRIALS / point.key / "config.json").write_text("damaged")
    store.store_trial(tmp_path, point.key, b"", "its worker died again")
    assert store.read_trials(tmp_path, [point])[point.key].incomplete == "its worker died again"
    store.store_trial(tmp_path, point.key, store.pack(write(fake("away", 0.75), tmp_path)), "")
    assert store.pending_trials(tmp_path, [point]) == []
    assert not (tmp_path / store.TRIALS / point.key / "02_train.ipynb").exists()


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, point: grid.Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write(fake("away", 0.75), tmp_path)
    store.store_trial(tmp_path, point.key, store.pack(run), "")

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_flush", full)
    with pytest.raises(OSError, match="No space"):
        store.store_trial(tmp_path, point.key, store.pack(run), "would be worse")
    assert store.pending_trials(tmp_path, [point]) == []
    assert [path.name for path in (tmp_path / store.TRIALS).iterdir()] == [point.key]


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, point: grid.Trial) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    with pytest.raises(tarfile.OutsideDestinationError):
        store.store_trial(tmp_path / "a" / "b", point.key, buffer.getvalue(), "")
    assert not list(tmp_path.rglob("evil"))


def test_what_a_killed_client_left_is_removed_and_half_a_run_is_not_done(tmp_path: Path, point: grid.Trial) -> None:
    half = tmp_path / store.TRIALS / f".writing-1-{point.key}"
    write(fake("x", 0.9), half)
    damaged = write(fake(point.key, 0.9), tmp_path / store.TRIALS)
    (damaged / "metrics.json").write_text("{")
    store.write_definition(tmp_path, {"epochs": 1}, None, [point])
    assert not half.exists()
    assert store.pending_trials(tmp_path, [point]) == [point]


def test_the_table_has_a_row_for_each_point_and_no_test_result(tmp_path: Path) -> None:
    points, _ = grid.make_trials({"dataset": "digits", "batch_size": "64,256", "seed": "0:2"})
    for point, accuracy in zip(points[:2], (0.9, 0.8), strict=True):
        write(fake(point.key, accuracy, test=0.123456, **point.config.model_dump()), tmp_path / store.TRIALS)
    store.store_trial(tmp_path, points[2].key, b"", "the kernel died")
    table = store.write_table(tmp_path, points, store.read_trials(tmp_path, points))
    assert table.index.tolist() == [point.key for point in points]
    assert table["state"].tolist() == ["done", "done", "failed", "not tried"]
    assert table["batch_size"].tolist() == [64, 64, 256, 256]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert table["validation"].tolist()[:2] == [0.9, 0.8]
    assert table["error"].tolist() == ["", "", "the kernel died", ""]
    text = (tmp_path / "table.csv").read_text()
    assert "test" not in text
    assert "123456" not in text
    assert len(text.splitlines()) == 5


def test_runs_are_selected_by_sweep_name_and_pattern(tmp_path: Path) -> None:
    write(fake("2026-a", 0.9), tmp_path)
    write(fake("2026-b", 0.8), tmp_path)
    write(fake("other", 0.7), tmp_path)
    write(fake("begun", 0.7, why="stopped"), tmp_path)
    write(fake("of-mnist", 0.6, dataset="mnist"), tmp_path)
    for key in "deadbeef", "another":  # which the sweep's last command did not ask for
        write(fake(key, 0.5), tmp_path / store.SWEEPS / "mine" / store.TRIALS)
    definition = tmp_path / store.SWEEPS / "mine" / "sweep.json"

    def names(which: str) -> list[str]:
        return sorted(run.name for run in store.select_runs(which, tmp_path))

    assert names("") == ["of-mnist"]  # one data set, MNIST first
    definition.write_text('{"points": ["deadbeef", "not-tried"]}')
    assert names("mine") == ["deadbeef"]
    assert names("2026*, other") == ["2026-a", "2026-b", "other"]
    assert names("mine,other,other") == ["deadbeef", "other"]
    assert store.select_runs("", tmp_path / "nothing") == []
    assert names("") == ["deadbeef"]
    begun = store.new_sweep_folder("newer", tmp_path)  # of which nothing is done yet
    store.write_definition(begun, {}, None, [])
    store.store_trial(begun, "failed", b"", "no data")
    assert names("") == ["deadbeef"]
    for missing in "nowhere", "other,", "[":
        with pytest.raises(RunError, match="no run or sweep"):
            store.select_runs(missing, tmp_path)
    for damaged in "{}", '{"points": null}':
        definition.write_text(damaged)
        with pytest.raises(RunError, match="is damaged"):
            store.select_runs("mine", tmp_path)


def test_a_sweeps_folder_is_no_run(tmp_path: Path) -> None:
    folder = store.new_sweep_folder("mine", tmp_path)
    store.write_definition(folder, {"seed": "0:2"}, None, [])
    assert list_runs(tmp_path) == []
    with pytest.raises(ConfigError, match=r"given '\.\./out'"):
        store.new_sweep_folder("../out", tmp_path)
