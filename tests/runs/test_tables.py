from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_utils.runs.run import Run, RunError
from mnist_utils.runs.tables import metrics_table, settings_meanings
from mnist_utils.training.config import make_config


def test_the_metrics_are_those_of_the_recorded_predictions(tiny_run: Run) -> None:
    table = metrics_table(tiny_run)
    assert list(table.index) == ["validation", "test"]
    for part in "validation", "test":
        probabilities, labels = tiny_run.predictions(part)
        row = table.loc[part]
        assert row["images"] == len(labels)
        assert row["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
        assert row["low"] < row["accuracy"] < row["high"]
        assert row["log loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-3)
        assert row["log loss"] < getattr(tiny_run.trained(), part).log_loss  # before the calibration


def test_a_run_without_validation_has_one_row(tiny_run: Run) -> None:
    metrics = replace(tiny_run.trained(), validation=None)
    assert list(metrics_table(replace(tiny_run, metrics=metrics)).index) == ["test"]


def test_an_incomplete_run_has_no_metrics(tiny_run: Run) -> None:
    with pytest.raises(RunError, match="incomplete"):
        metrics_table(replace(tiny_run, metrics=None, incomplete="training was not finished"))


def test_settings_say_where_they_are_from() -> None:
    given = {"epochs": 3, "seed": 0, "batch_size": None}
    table = settings_meanings(make_config(epochs=3, seed=0), given)
    assert table.loc["epochs", "value"] == "3"
    assert table["from"][["epochs", "seed", "batch_size", "learning_rate"]].tolist() == [
        *("parameter", "parameter", "default", "default")
    ]
    assert table["meaning"].str.len().min() > 5
