"""Runs that nobody trained: no more than their numbers, for whatever lists, compares or draws runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils.evaluation.metrics import Metrics
from mnist_utils.runs.run import Run, RunMetrics
from mnist_utils.training.config import make_config


def fake_metrics(accuracy: float, n: int, half: float = 0.0) -> Metrics:
    """Make metrics with such an accuracy, and an interval that reaches so far to either side."""
    return Metrics(n, accuracy, (accuracy - half, accuracy + half), 0.1, 0.01, [], np.eye(10, dtype=int).tolist())


def fake_run(
    name: str,
    validation: float,
    *,
    test: float = 0.9,
    seconds: float = 1.0,
    why: str = "",
    dataset: str = "digits",
    sha256: str = "0",
    started: str = "2026-01-01T00:00:00+00:00",
    **config: Any,
) -> Run:
    """Make a run that was trained with such accuracies; `why` it is not: incomplete."""
    facts = {
        "config": make_config(dataset=dataset, **config).model_dump(),
        "dataset": {"name": dataset, "sha256": sha256, "note": ""},
        "git_commit": "abc",
        "started": started,
    }
    metrics = RunMetrics(fake_metrics(validation, 144, 0.01), fake_metrics(test, 360), {"training": seconds})
    return Run(Path(name), facts, None if why else metrics, why)


def write_run(run: Run, folder: Path, *, correct: NDArray[np.bool_] | None = None) -> Path:
    """Write a run's files where they can be read back; predictions only where it is said which are `correct`."""
    place = folder / run.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(run.facts))
    if run.metrics:
        (place / "metrics.json").write_text(json.dumps(asdict(run.metrics)))
    if run.incomplete:
        (place / "incomplete").write_text(f"training: {run.incomplete}\n")
    if correct is not None:
        probabilities, labels = np.eye(10)[np.where(correct, 3, 4)], np.full(len(correct), 3)
        np.savez(
            place / "predictions.npz",
            probabilities=probabilities,
            labels=labels,
            validation_probabilities=probabilities,
            validation_labels=labels,
        )
    return place
