"""Tables of a run, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from mnist_utils.training.config import TrainConfig

if TYPE_CHECKING:
    from mnist_utils.runs.run import Run


def metrics_table(run: Run) -> pd.DataFrame:
    """Put a run's validation and test metrics into a table.

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
    metrics = run.trained()
    return pd.DataFrame(
        {
            part: {
                "images": found.n,
                "accuracy": found.accuracy,
                "low": found.accuracy_interval[0],
                "high": found.accuracy_interval[1],
                "log loss": found.log_loss,
                "calibration error": found.expected_calibration_error,
            }
            for part, found in {"validation": metrics.validation, "test": metrics.test}.items()
            if found  # there is no validation where the run was trained on all images
        }
    ).T.astype({"images": int})


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
