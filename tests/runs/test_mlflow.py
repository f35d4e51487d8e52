"""A run copied into MLflow: a module in its place keeps what it is given. The real one was tried by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from mnist_utils import ConfigError
from mnist_utils.runs.mlflow import export_to_mlflow
from mnist_utils.runs.run import Run, RunError
from tests.conftest import Cli
from tests.fake_runs import fake_run
from tests.fake_trackers import Call, fake_mlflow


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    kept: list[Call] = []
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow(kept))
    return kept


def test_a_run_is_copied_with_all_its_numbers_and_files(calls: list[Call], tiny_run: Run, mnist: Cli) -> None:
    status, out, err = mnist("export", str(tiny_run.path), "--format", "mlflow")
    assert (status, out, err) == (0, "http://store: run tiny, id abc\n", "")
    facts = json.loads((tiny_run.path / "config.json").read_text())
    assert calls[0] == ("start_run", (), {"run_name": "tiny"})
    assert calls[-1][0] == "end_run"
    given = [(name, *arguments) for name, arguments, _ in calls]
    assert ("log_params", facts["config"]) in given
    (tags,) = [arguments[0] for name, arguments, _ in calls if name == "set_tags"]
    assert tags["dataset_name"] == "digits"
    assert tags["dataset_sha256"] == facts["dataset"]["sha256"]
    assert tags["started"] == facts["started"]
    assert "dataset_note" not in tags  # the run has none
    *epochs, (numbers,) = [(*arguments, *named.values()) for name, arguments, named in calls if name == "log_metrics"]
    history = pd.read_csv(tiny_run.path / "history.csv")
    pd.testing.assert_frame_equal(pd.DataFrame([{"epoch": step, **row} for row, step in epochs]), history)
    metrics = json.loads((tiny_run.path / "metrics.json").read_text())
    for part in "validation", "test":
        for name in "accuracy", "log_loss", "expected_calibration_error":
            assert numbers[f"{part}_{name}"] == metrics[part][name]
    assert numbers["temperature"] == metrics["temperature"]
    artifacts = {(Path(path).name, folder) for name, path, folder in (row for row in given if row[0] == "log_artifact")}
    assert artifacts >= {("config.json", None), ("model.keras", None), ("confusion_matrix.png", "figures")}
    assert len(artifacts) == sum(path.is_file() for path in tiny_run.path.rglob("*"))


def test_without_mlflow_the_fix_is_named(tiny_run: Run, mnist: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    status, out, err = mnist("export", str(tiny_run.path), "--format", "mlflow")
    assert (status, out) == (2, "")
    assert err == "mnist: format: mlflow needs MLflow, which is missing; install it: pip install mlflow\n"


def test_what_mlflow_refuses_is_one_line(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", fake_mlflow([], refusal="no such store\nand more"))
    with pytest.raises(RunError, match=r"^MLflow at http://store refuses: no such store$"):
        export_to_mlflow(tiny_run)


def test_an_incomplete_run_is_not_copied(calls: list[Call]) -> None:
    with pytest.raises(RunError, match=r"run half is incomplete \(stopped by Ctrl-C\): it has no results yet"):
        export_to_mlflow(fake_run("half", 0.9, why="stopped by Ctrl-C"))
    assert calls == []


def test_options_of_the_other_formats_are_refused(calls: list[Call], tiny_run: Run, mnist: Cli) -> None:
    status, _, err = mnist("export", str(tiny_run.path), "--format", "mlflow", "--output", "store")
    assert status == ConfigError.status
    assert err == "mnist: output: given with --format mlflow; allowed: without. Set MLFLOW_TRACKING_URI instead\n"
    assert calls == []
