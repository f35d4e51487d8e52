from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.calibration import apply_temperature, expected_calibration_error
from mnist_utils.runs import evaluate
from mnist_utils.runs.record import mark_incomplete, record_run
from mnist_utils.runs.run import Run, RunError, read_predictions, read_run
from mnist_utils.training import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config, dataset = fit.prepare_training(dataset="digits", train_limit=200, epochs=2, batch_size=50)
    return record_run(config, dataset, "one", tmp_path_factory.mktemp("results"), progress=False)


def test_summary_is_what_was_recorded(run: Run) -> None:
    found = evaluate.summarize_run(run)
    probabilities, labels = read_predictions(run)
    assert found.accuracy == run.metrics["test"]["accuracy"]
    assert list(found.accuracy_interval) == run.metrics["test"]["accuracy_interval"]
    assert found.expected_calibration_error == pytest.approx(run.metrics["test"]["expected_calibration_error"], abs=1e-6)
    scaled = apply_temperature(probabilities, run.metrics["temperature"])
    assert found.calibrated_error == pytest.approx(expected_calibration_error(scaled, labels))
    assert found.log_loss == pytest.approx(-np.log(scaled[np.arange(len(labels)), labels]).mean())
    for name in "accuracy", "expected_calibration_error", "calibrated_error":
        low, high = getattr(found, f"{name}_interval")
        assert 0 <= low < high <= 1


def test_robustness_asks_the_network_about_the_test_images(run: Run) -> None:
    found = evaluate.evaluate_robustness(run)
    assert found.table.loc["clean", "accuracy"] == pytest.approx(run.metrics["test"]["accuracy"], abs=0.006)
    assert "digits" not in found.table.index  # it was trained on them
    written = evaluate.write_robustness(run, found)
    content = json.loads(written[0].read_text())
    assert content["mean"] == found.mean
    assert [row["change"] for row in content["rows"]] == list(found.table.index)
    assert content["rows"][0]["p_value"] is None
    with Image.open(written[1]) as figure:
        assert figure.size[0] > 800
    assert f"worst {found.worst.replace('_', ' ')}" in evaluate.robustness_title(run, found)


def test_digits_are_asked_about_only_where_digits_were_learnt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("digits")
    for name, asked in ("mnist", True), ("fashion_mnist", False):
        monkeypatch.setattr(evaluate, "load_run_dataset", lambda *_, name=name: replace(dataset, name=name))
        assert ("digits" in evaluate.evaluate_robustness(run).table.index) == asked


def test_an_older_run_has_no_temperature(run: Run) -> None:
    metrics = {key: value for key, value in run.metrics.items() if key != "temperature"}
    found = evaluate.summarize_run(replace(run, metrics=metrics))
    assert found.calibrated_error == pytest.approx(found.expected_calibration_error, abs=1e-6)


def test_predictions_that_do_not_fit_are_damaged(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "odd")
    probabilities, labels = read_predictions(run)
    np.savez_compressed(tmp_path / "odd" / "predictions.npz", probabilities=probabilities[:5], labels=labels)
    with pytest.raises(RunError, match=r"run odd is damaged: .*360 labels and probabilities of shape \(5, 10\)"):
        evaluate.summarize_run(read_run("odd", tmp_path))


def test_a_mean_without_an_interval_is_null(run: Run) -> None:
    found = replace(evaluate.evaluate_robustness(run), mean_interval=(np.nan, np.nan))
    assert json.loads(json.dumps(evaluate.robustness_json(found), allow_nan=False))["mean_interval"] == [None, None]


def test_an_incomplete_run_has_nothing_to_assess(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "half")
    mark_incomplete(tmp_path / "half", "stopped by Ctrl-C")
    half = read_run("half", tmp_path)
    for ask in evaluate.summarize_run, evaluate.evaluate_robustness:
        with pytest.raises(RunError, match=r"run half is incomplete \(stopped by Ctrl-C\)"):
            ask(half)
