"""A run's figures: learning curves and confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from mnist_utils import plots

if TYPE_CHECKING:
    from mnist_utils.runs.run import Run


def draw_figure(run: Run, name: str, figure: Figure | None = None) -> Figure:
    """Draw one of a run's figures, see `Run.figure`."""
    metrics, figure = run.trained("figures yet"), figure or Figure()
    what = f"{run.config.model} on {run.dataset_name}{run.seed_words}"
    if name == "training_curves":
        found, title = metrics.validation, f"{what}: trained on all images, without validation"
        if found:
            title = f"{what}: {found.accuracy:.2%} of {found.n:,} validation images correct"
        path = run.path / "curve.csv"  # older runs have none
        curve = pd.read_csv(path) if path.exists() else None
        return plots.training_curves(run.history(), curve, title=title, figure=figure)
    test = metrics.test
    low, high = test.accuracy_interval
    title = f"{what}: {test.accuracy:.2%} of {test.n:,} test images correct (95 %: {low:.2%} to {high:.2%})"
    return plots.confusion_matrices(test.confusion_matrix, classes=run.classes, title=title, figure=figure)
