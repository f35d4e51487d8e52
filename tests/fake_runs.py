"""Runs that nobody trained: no more than their numbers, for whatever compares runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mnist_utils.runs.run import Run
from mnist_utils.training.config import make_config


def fake(name: str, validation: float, *, test: float = 0.9, seconds: float = 1.0, why: str = "", **config: Any) -> Run:
    """Make a run that was trained on digits with such an accuracy."""
    interval = [validation - 0.01, validation + 0.01]
    metrics = {
        "validation": {"accuracy": validation, "accuracy_interval": interval, "n": 144},
        "test": {"accuracy": test, "accuracy_interval": [test, test], "n": 360},
        "seconds": {"training": seconds},
    }
    content = {
        "config": make_config(**{"dataset": "digits"} | config).model_dump(),
        "dataset": {"name": config.get("dataset", "digits"), "sha256": "0", "note": ""},
        "git_commit": "abc",
    }
    return Run(Path(name), content, {} if why else metrics, why)


def write(run: Run, folder: Path) -> Path:
    """Write a run's two files where they can be read back."""
    place = folder / run.name
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(run.config))
    if run.metrics:
        (place / "metrics.json").write_text(json.dumps(run.metrics))
    if run.incomplete:
        (place / "incomplete").write_text(run.incomplete)
    return place
