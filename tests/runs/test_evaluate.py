from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.calibration import apply_temperature, calibration_error_interval, expected_calibration_error
from mnist_utils.runs import evaluate
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_incomplete
from mnist_utils.runs.run import Run, RunError


def test_summary_is_of_the_calibrated_predictions(tiny_run: Run) -> None:
    found = evaluate.summarize_run(tiny_run)
    probabilities, labels = tiny_run.predictions()
    recorded = tiny_run.trained()
    assert (found.accuracy, found.accuracy_interval) == (recorded.test.accuracy, recorded.test.accuracy_interval)
    assert found.expected_calibration_error == pytest.approx(expected_calibration_error(probabilities, labels))
    assert found.log_loss == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-5)
    unscaled = apply_temperature(probabilities, 1 / recorded.temperature)  # metrics.json keeps what came out of training
    assert expected_calibration_error(unscaled, labels) == pytest.approx(recorded.test.expected_calibration_error, abs=1e-4)
    assert found.errors.observed == (probabilities.argmax(axis=1) != labels).sum()
    assert found.errors.expected == pytest.approx((1 - probabilities.max(axis=1)).sum(), rel=1e-5)
    assert found.expected_calibration_error_interval == calibration_error_interval(probabilities, labels)
    for name in "accuracy", "expected_calibration_error":
        low, high = getattr(found, f"{name}_interval")
        assert 0 <= low < high <= 1


def test_robustness_asks_the_network_about_the_test_images(tiny_run: Run, tmp_path: Path) -> None:
    found = evaluate.evaluate_robustness(tiny_run)
    assert found.table.loc["clean", "accuracy"] == pytest.approx(tiny_run.trained().test.accuracy, abs=0.006)
    assert "digits" not in found.table.index  # it was trained on them
    shutil.copytree(tiny_run.path, tmp_path / "one")
    written = evaluate.write_robustness(read_run("one", tmp_path), found)
    content = json.loads(written[0].read_text())
    assert content["mean"] == found.mean
    assert [row["change"] for row in content["rows"]] == list(found.table.index)
    assert content["rows"][0]["p_value"] is None
    with Image.open(written[1]) as figure:
        assert figure.size[0] > 800
    assert f"worst {found.worst.replace('_', ' ')}" in evaluate.robustness_title(tiny_run, found)


def test_a_data_set_is_evaluated_by_its_name_on_its_test_part(tiny_run: Run) -> None:
    found = evaluate.evaluate_data(tiny_run, "digits")
    assert (found.source, found.part, found.note) == ("digits", "the test part", "")
    assert found.summary.n == 360
    assert found.summary.accuracy == tiny_run.trained().test.accuracy


def test_digits_are_asked_about_only_where_digits_were_learnt(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("digits")
    for name, asked in ("mnist", True), ("fashion_mnist", False):
        monkeypatch.setattr(Run, "dataset", lambda *_, name=name: replace(dataset, name=name))
        assert ("digits" in evaluate.evaluate_robustness(tiny_run).table.index) == asked


def test_predictions_that_do_not_fit_are_damaged(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "odd")
    probabilities, labels = tiny_run.predictions()
    np.savez_compressed(tmp_path / "odd" / "predictions.npz", probabilities=probabilities[:5], labels=labels)
    with pytest.raises(RunError, match=r"run odd is damaged: .*360 labels and probabilities of shape \(5, 10\)"):
        evaluate.summarize_run(read_run("odd", tmp_path))


def test_a_mean_without_an_interval_is_null(tiny_run: Run) -> None:
    found = replace(evaluate.evaluate_robustness(tiny_run), mean_interval=(np.nan, np.nan))
    assert json.loads(json.dumps(evaluate.robustness_json(found), allow_nan=False))["mean_interval"] == [None, None]


def test_an_incomplete_run_has_nothing_to_assess(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "half")
    mark_incomplete(tmp_path / "half", "training", "stopped by Ctrl-C")
    half = read_run("half", tmp_path)
    for ask in evaluate.summarize_run, evaluate.evaluate_robustness:
        with pytest.raises(RunError, match=r"run half is incomplete \(stopped by Ctrl-C\)"):
            ask(half)
