from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from mnist_utils import ConfigError
from mnist_utils.experiments import grid, store
from mnist_utils.runs.find import list_runs
from mnist_utils.runs.run import RunError
from tests.fake_runs import fake_run, write_run


@pytest.fixture
def trial() -> grid.Trial:
    return grid.make_trials({"dataset": "digits", "epochs": 1})[0][0]


def test_a_run_comes_back_as_it_was_packed(tmp_path: Path, trial: grid.Trial) -> None:
    run = write_run(fake_run("away", 0.75), tmp_path)
    (run / "figures").mkdir()
    (run / "figures" / "one.png").write_text("x")
    found = store.store_trial(tmp_path, trial.key, store.pack_run(run))
    place = store.trials_folder(tmp_path) / trial.key
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert files == {"config.json", "metrics.json", "figures/one.png"}
    assert (place / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert (found.name, found.trained().validated().accuracy) == (trial.key, 0.75)
    assert store.pending_trials(tmp_path, [trial]) == []


def test_a_run_that_was_written_in_place_is_read(tmp_path: Path, trial: grid.Trial) -> None:
    write_run(fake_run(trial.key, 0.75), store.trials_folder(tmp_path))
    assert store.store_trial(tmp_path, trial.key, b"").trained().validated().accuracy == 0.75


def test_a_failed_trial_says_why_until_the_next_try(tmp_path: Path, trial: grid.Trial) -> None:
    assert store.pending_trials(tmp_path, [trial]) == [trial]
    store.store_failure(tmp_path, trial.key, "no data there")
    assert store.read_trials(tmp_path, [trial])[trial.key].incomplete == "no data there"
    assert store.pending_trials(tmp_path, [trial]) == [trial]
    write_run(fake_run(trial.key, 0.75, why="training was not finished"), store.trials_folder(tmp_path))
    store.store_failure(tmp_path, trial.key, "its worker died\nof this and that")
    assert store.read_trials(tmp_path, [trial])[trial.key].incomplete == "its worker died"
    store.store_trial(tmp_path, trial.key, store.pack_run(write_run(fake_run("away", 0.75), tmp_path)))
    assert store.pending_trials(tmp_path, [trial]) == []


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, trial: grid.Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = store.pack_run(write_run(fake_run("away", 0.75), tmp_path))
    store.store_trial(tmp_path, trial.key, packed)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.store_trial(tmp_path, trial.key, packed)
    assert store.pending_trials(tmp_path, [trial]) == []
    assert [path.name for path in store.trials_folder(tmp_path).iterdir()] == [trial.key]


def test_a_sweep_of_an_earlier_version_is_read(tmp_path: Path, trial: grid.Trial) -> None:
    write_run(fake_run(trial.key, 0.75), tmp_path / "points")
    assert store.pending_trials(tmp_path, [trial]) == []


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, trial: grid.Trial) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    with pytest.raises(tarfile.OutsideDestinationError):
        store.store_trial(tmp_path / "a" / "b", trial.key, buffer.getvalue())
    assert not list(tmp_path.rglob("evil"))


def test_what_a_killed_client_left_is_removed_and_half_a_run_is_not_done(tmp_path: Path, trial: grid.Trial) -> None:
    half = store.trials_folder(tmp_path) / f".writing-1-{trial.key}"
    write_run(fake_run("x", 0.9), half)
    damaged = write_run(fake_run(trial.key, 0.9), store.trials_folder(tmp_path))
    (damaged / "metrics.json").write_text("{")
    store.write_definition(tmp_path, {"epochs": 1}, None, [trial])
    assert not half.exists()
    assert store.pending_trials(tmp_path, [trial]) == [trial]


def test_the_table_has_a_row_for_each_trial_and_no_test_result(tmp_path: Path) -> None:
    trials, _ = grid.make_trials({"dataset": "digits", "batch_size": "64,256", "seed": "0:2"})
    for trial, accuracy in zip(trials[:2], (0.9, 0.8), strict=True):
        write_run(fake_run(trial.key, accuracy, test=0.123456, **trial.config.model_dump()), store.trials_folder(tmp_path))
    store.store_failure(tmp_path, trials[2].key, "the kernel died")
    table = store.write_table(tmp_path, trials, store.read_trials(tmp_path, trials))
    assert table.index.tolist() == [trial.key for trial in trials]
    assert table["state"].tolist() == ["done", "done", "failed", "not started"]
    assert table["batch_size"].tolist() == [64, 64, 256, 256]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert table["validation"].tolist()[:2] == [0.9, 0.8]
    assert table["error"].tolist() == ["", "", "the kernel died", ""]
    text = (tmp_path / "table.csv").read_text()
    assert "test" not in text
    assert "123456" not in text
    assert len(text.splitlines()) == 5


def test_runs_are_selected_by_sweep_name_and_pattern(tmp_path: Path) -> None:
    write_run(fake_run("2026-a", 0.9), tmp_path)
    write_run(fake_run("2026-b", 0.8), tmp_path)
    write_run(fake_run("other", 0.7), tmp_path)
    write_run(fake_run("begun", 0.7, why="stopped"), tmp_path)
    write_run(fake_run("of-mnist", 0.6, dataset="mnist"), tmp_path)
    for key in "deadbeef", "another":  # which the sweep's last command did not ask for
        write_run(fake_run(key, 0.5), tmp_path / store.SWEEPS / "mine" / "trials")
    definition = tmp_path / store.SWEEPS / "mine" / "sweep.json"

    def names(which: str) -> list[str]:
        return sorted(run.name for run in store.select_runs(which, tmp_path))

    assert names("") == ["of-mnist"]  # one data set, MNIST first
    definition.write_text('{"trials": ["deadbeef", "not-begun"]}')
    assert names("mine") == ["deadbeef"]
    assert names("2026*, other") == ["2026-a", "2026-b", "other"]
    assert names("mine,other,other") == ["deadbeef", "other"]
    assert store.select_runs("", tmp_path / "nothing") == []
    assert names("") == ["deadbeef"]
    begun = store.new_sweep_folder("newer", tmp_path)  # of which nothing is done yet
    store.write_definition(begun, {}, None, [])
    store.store_failure(begun, "failed", "no data")
    assert names("") == ["deadbeef"]
    for missing in "nowhere", "other,", "[":
        with pytest.raises(RunError, match="no run or sweep"):
            store.select_runs(missing, tmp_path)
    for damaged in "{}", '{"trials": null}':
        definition.write_text(damaged)
        with pytest.raises(RunError, match="is damaged"):
            store.select_runs("mine", tmp_path)


def test_a_sweeps_folder_is_no_run(tmp_path: Path) -> None:
    folder = store.new_sweep_folder("mine", tmp_path)
    store.write_definition(folder, {"seed": "0:2"}, None, [])
    assert list_runs(tmp_path) == []
    with pytest.raises(ConfigError, match=r"given '\.\./out'"):
        store.new_sweep_folder("../out", tmp_path)
