from __future__ import annotations

from pathlib import Path

import pytest

from mnist_utils.experiments import grid, report, store
from mnist_utils.experiments.grid import Trial
from tests.fake_runs import fake, write
from tests.pipeline.test_report import Page


@pytest.fixture
def points() -> list[Trial]:
    return grid.make_trials({"dataset": "digits", "batch_size": "64,256", "seed": "0:2"})[0]


def fill(folder: Path, points: list[Trial], accuracies: list[float]) -> None:
    for point, accuracy in zip(points, accuracies, strict=False):
        write(fake(point.key, accuracy, test=accuracy / 2, **point.config.model_dump()), folder / store.TRIALS)


def test_a_page_says_what_was_chosen_and_opens_only_its_tests(tmp_path: Path, points: list[Trial]) -> None:
    fill(tmp_path, points, [0.9, 0.8, 0.7, 0.5])
    page = Page(report.write_sweep_report(tmp_path, points, store.read_trials(tmp_path, points)))
    words = " ".join(page.words.split())
    assert "4 of 4 points done, on digits; varied: batch size" in words
    assert "Chosen by validation 85.00 % batch_size 64" in words
    assert "Its test accuracy 42.50 %" in words
    assert "30.00 %" not in words  # the test accuracy of the other setting
    assert "failed" not in words
    pictures = page.all("img")
    assert len(pictures) == 2
    assert all(picture["alt"] and str(picture["src"]).startswith("data:image/png;base64,") for picture in pictures)
    assert page.all("script") == []


def test_what_failed_is_told_of_with_its_notebook(tmp_path: Path, points: list[Trial]) -> None:
    fill(tmp_path, points[:3], [0.9, 0.8, 0.7])
    store.store_trial(tmp_path, points[3].key, b"", "NotebookError: <b>out of memory</b>")
    notebook = tmp_path / store.TRIALS / points[3].key / "notebooks" / "02_train.ipynb"
    page = Page(report.write_sweep_report(tmp_path, points, store.read_trials(tmp_path, points)))
    assert "batch_size 256, seed 1: NotebookError: <b>out of memory</b>" in page.words
    assert page.all("b") == []
    assert "1 point failed" in page.words
    notebook.write_text("{}")
    links = [
        link["href"]
        for link in Page(report.write_sweep_report(tmp_path, points, store.read_trials(tmp_path, points))).all("a")
    ]
    assert f"points/{points[3].key}/notebooks/02_train.ipynb" in links


def test_a_sweep_of_which_nothing_is_done_has_a_page_too(tmp_path: Path, points: list[Trial]) -> None:
    store.store_trial(tmp_path, points[0].key, b"", "no data")
    page = Page(report.write_sweep_report(tmp_path, points, store.read_trials(tmp_path, points)))
    assert "0 of 4 points done" in page.words
    assert page.all("img") == []
