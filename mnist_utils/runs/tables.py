"""Tables of a run, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.training.config import TrainConfig

if TYPE_CHECKING:
    from mnist_utils.runs.run import Run


def metrics_table(run: Run) -> pd.DataFrame:
    """Put the metrics of a run's model, which is calibrated, into a table.

    ``metrics.json`` has them as they were before the calibration, which changes log loss and calibration error.

    Returns
    -------
    DataFrame
        A row for each part; columns images, accuracy, low, high (its 95 % interval, all 0 to 1), log loss (nat),
        calibration error (0 to 1).

    Raises
    ------
    RunError
        If the run is incomplete.
    """
    parts: list[Literal["validation", "test"]] = ["validation", "test"]
    if not run.trained().validation:  # trained on all images
        parts.remove("validation")
    rows = {}
    for part in parts:
        found = compute_metrics(*run.predictions(part))
        low, high = found.accuracy_interval
        rows[part] = {"images": found.n, "accuracy": found.accuracy, "low": low, "high": high, "log loss": found.log_loss}
        rows[part]["calibration error"] = found.expected_calibration_error
    return pd.DataFrame(rows).T.astype({"images": int})


def settings_meanings(config: TrainConfig, given: Mapping[str, Any]) -> pd.DataFrame:
    """List each hyper-parameter with its value, where that is from, and what it means.

    Parameters
    ----------
    config : TrainConfig
    given : mapping
        What was asked for; None is "the default".
    """
    values = config.model_dump()
    return pd.DataFrame(
        {
            name: {
                "value": str(values[name]),
                "from": "default" if given.get(name) is None else "parameter",
                "meaning": field.description,
            }
            for name, field in TrainConfig.model_fields.items()
        }
    ).T
