"""A recorded run, evaluated again: accuracy, calibration, and robustness to changed images."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_utils._support import files
from mnist_utils.evaluation.calibration import calibration_error_interval
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    from mnist_utils.evaluation.robustness import Robustness


ROBUSTNESS = "robustness.json"
ROBUSTNESS_FIGURE = "figures/robustness.png"


@dataclass(frozen=True)
class TestSummary:
    """What a run recorded about its test images.

    Attributes
    ----------
    n : int
        Test images.
    accuracy, accuracy_interval : float, (float, float)
        0 to 1, with Wilson's 95 % interval.
    expected_calibration_error, expected_calibration_error_interval : float, (float, float)
        See `evaluation.calibration.calibration_error_interval`.
    log_loss : float
        In nat.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    expected_calibration_error: float
    expected_calibration_error_interval: tuple[float, float]
    log_loss: float


def summarize_run(run: Run) -> TestSummary:
    """Compute what a run's recorded predictions say; neither its model nor its data set is needed.

    Raises
    ------
    RunError
        If the run is incomplete or damaged.
    """
    run.trained("model to evaluate yet")
    probabilities, labels = run.predictions()
    found = compute_metrics(probabilities, labels)
    return TestSummary(
        n=found.n,
        accuracy=found.accuracy,
        accuracy_interval=found.accuracy_interval,
        expected_calibration_error=found.expected_calibration_error,
        expected_calibration_error_interval=calibration_error_interval(probabilities, labels),
        log_loss=found.log_loss,
    )


def evaluate_robustness(
    run: Run, *, data_dir: str | Path | None = None, done: Callable[[int, int], None] | None = None
) -> Robustness:
    """Evaluate a run's model on corrupted test images, and on digits of another data set; see `measure_robustness`.

    Parameters
    ----------
    run : Run
    data_dir : path, optional
        See `data.datasets.load_dataset`.
    done : callable, optional
        Told after each step which one it was, from 1, of how many.

    Raises
    ------
    RunError, DataError, ModelError
        If the run is incomplete, its data set is not available, or its model cannot be loaded.
    """
    from mnist_utils.data.datasets import load_dataset
    from mnist_utils.evaluation.robustness import measure_robustness

    run.trained("model to evaluate yet")
    dataset = run.dataset(data_dir)
    others = (load_dataset("digits"),) if dataset.name == "mnist" else ()
    return measure_robustness(run.predict, dataset.x_test, dataset.y_test, others=others, done=done)


def write_robustness(run: Run, found: Robustness) -> list[Path]:
    """Write the table and its figure into the run's folder, where its report finds them.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    RunError, OSError
        If it cannot be written.
    """
    from matplotlib.figure import Figure

    from mnist_utils import plots

    if not os.access(run.path, os.W_OK):
        raise RunError(f"{run.path} cannot be written, so nothing was kept there")
    written = [run.path / ROBUSTNESS, run.path / ROBUSTNESS_FIGURE]
    files.write_text_atomic(written[0], json.dumps(robustness_json(found), indent=2))
    figure = plots.robustness_bars(found, title=robustness_title(run, found), figure=Figure())
    written[1].parent.mkdir(exist_ok=True)
    files.write_atomic(written[1], lambda path: figure.savefig(path, dpi=100))
    return written


def robustness_json(found: Robustness) -> dict[str, object]:
    """Put what was found, without its samples, into what JSON can hold; null stands for what cannot be compared."""
    rows = json.loads(found.table.reset_index().to_json(orient="records", double_precision=15))
    interval = [None if math.isnan(end) else end for end in found.mean_interval]
    return {"mean": found.mean, "mean_interval": interval, "worst": found.worst, "rows": rows}


def robustness_title(run: Run, found: Robustness) -> str:
    """Say in two lines what was found, for a figure."""
    low, high = found.mean_interval
    return (
        f"MNIST-C: mean accuracy {found.mean:.1%} (95 %: {low:.1%} to {high:.1%}), worst "
        f"{found.worst.replace('_', ' ')} with {found.worst_accuracy:.1%}\n"
        f"{run.describe()}, n = {found.table['n'].iloc[0]:,} test images"
    )
