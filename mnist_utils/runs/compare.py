"""Compare runs with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    import pandas as pd

    from mnist_utils.evaluation.statistics import PairedComparison


def runs_table(found: list[Run]) -> pd.DataFrame:
    """Put trained runs into a table: run, data, model, epochs, seed, validation, 95 % interval, seconds of training."""
    import pandas as pd

    return pd.DataFrame(
        {
            "run": run.name,
            "data": run.dataset_name,
            "model": run.config.model,
            "epochs": run.config.epochs,
            "seed": run.config.seed,
            "validation": f"{shown.accuracy:.2%}" if (shown := run.metrics.validation) else "none",
            "95 % interval": "{:.2%} to {:.2%}".format(*shown.accuracy_interval) if shown else "",
            "seconds": round(run.metrics.seconds["training"]),
        }
        for run in found
        if run.metrics
    )


def compare_runs(a: Run, b: Run) -> PairedComparison:
    """Compare two runs on their common test images.

    Raises
    ------
    RunError
        If one is incomplete, or they were not tested on the same images.
    """
    from mnist_utils.evaluation.statistics import mcnemar_test

    for run in a, b:
        run.trained("test result to compare")
    if a.sha256 != b.sha256:
        raise RunError(
            f"{a.name} was tested on {a.dataset_name}, {b.name} on {b.dataset_name}: not the same images, "
            "so nothing to compare"
        )
    (probabilities_a, labels), (probabilities_b, _) = a.predictions(), b.predictions()
    return mcnemar_test(probabilities_a.argmax(axis=1) == labels, probabilities_b.argmax(axis=1) == labels)
