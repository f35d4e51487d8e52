"""Compare runs with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

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


def compare_runs(a: Run, b: Run, part: Literal["validation", "test"] = "validation") -> PairedComparison:
    """Compare two runs on their common images.

    Choose between runs on validation images. Open the test images once, at the end, for what was chosen: the best of many on
    the test images is flattered by them.

    Parameters
    ----------
    a, b : Run
    part : {"validation", "test"}

    Raises
    ------
    RunError
        If one is incomplete, or they were not predicted on the same images.
    """
    from mnist_utils.evaluation.statistics import mcnemar_test

    for run in a, b:
        run.trained("result to compare")
    if a.sha256 != b.sha256:
        raise RunError(
            f"{a.name} was tested on {a.dataset_name}, {b.name} on {b.dataset_name}: not the same images, "
            "so nothing to compare"
        )
    (probabilities_a, labels), (probabilities_b, labels_b) = a.predictions(part), b.predictions(part)
    if not np.array_equal(labels, labels_b):
        raise RunError(
            f"{a.name} was validated on {len(labels):,} images, {b.name} on {len(labels_b):,} others (validation_fraction "
            f"{a.config.validation_fraction:g} and {b.config.validation_fraction:g}): allowed: the same fraction, or --test"
        )
    if not len(labels):
        raise RunError(f"{a.name} and {b.name} were trained on all images and not validated: allowed: --test")
    return mcnemar_test(probabilities_a.argmax(axis=1) == labels, probabilities_b.argmax(axis=1) == labels)
