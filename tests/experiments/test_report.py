from __future__ import annotations

from pathlib import Path

import pytest

from mnist_utils.experiments import grid, report, store
from mnist_utils.experiments.grid import Trial
from tests.fake_runs import fake_run, write_run
from tests.pipeline.test_report import Page


@pytest.fixture
def trials() -> list[Trial]:
    return grid.make_trials({"dataset": "digits", "batch_size": "64,256", "seed": "0:2"})[0]


def fill(folder: Path, trials: list[Trial], accuracies: list[float]) -> None:
    for trial, accuracy in zip(trials, accuracies, strict=False):
        write_run(fake_run(trial.key, accuracy, test=accuracy / 2, **trial.config.model_dump()), store.trials_folder(folder))


def test_a_page_says_what_was_chosen_and_opens_only_its_tests(tmp_path: Path, trials: list[Trial]) -> None:
    fill(tmp_path, trials, [0.9, 0.8, 0.7, 0.5])
    page = Page(report.write_sweep_report(tmp_path, trials, store.read_trials(tmp_path, trials)))
    words = " ".join(page.words.split())
    assert "4 of 4 trials done, on digits; varied: batch size" in words
    assert "Best setting by validation 85.00 % batch_size 64" in words
    assert "Its test accuracy 42.50 %" in words
    assert "30.00 %" not in words  # the test accuracy of the other setting
    assert "failed" not in words
    pictures = page.all("img")
    assert len(pictures) == 2
    assert all(picture["alt"] and str(picture["src"]).startswith("data:image/png;base64,") for picture in pictures)
    assert page.all("script") == []


def test_what_failed_is_told_of(tmp_path: Path, trials: list[Trial]) -> None:
    fill(tmp_path, trials[:3], [0.9, 0.8, 0.7])
    store.store_failure(tmp_path, trials[3].key, "OSError: <b>out of memory</b>")
    page = Page(report.write_sweep_report(tmp_path, trials, store.read_trials(tmp_path, trials)))
    assert "batch_size 256, seed 1: OSError: <b>out of memory</b>" in page.words
    assert page.all("b") == []
    assert "1 trial failed" in page.words


def test_a_sweep_of_which_nothing_is_done_has_a_page_too(tmp_path: Path, trials: list[Trial]) -> None:
    store.store_failure(tmp_path, trials[0].key, "no data")
    page = Page(report.write_sweep_report(tmp_path, trials, store.read_trials(tmp_path, trials)))
    assert "0 of 4 trials done" in page.words
    assert page.all("img") == []
