"""A run's predictions, read back from its folder."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_utils.evaluation.calibration import apply_temperature
from mnist_utils.runs.inference import missing_temperature
from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    from mnist_utils._support.arrays import Labels


def read_predictions(run: Run, part: Literal["validation", "test"]) -> tuple[NDArray[np.float32], Labels]:
    """Read ``predictions.npz``, see `Run.predictions`.

    Raises
    ------
    RunError
        If the file is missing or damaged, or was written before validation predictions were kept.
    """
    path, before = run.path / "predictions.npz", "" if part == "test" else "validation_"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if f"{before}labels" not in archive and "labels" in archive:
                raise RunError(f"run {run.name} was recorded without {part} predictions; train it again to have them")
            probabilities, labels = archive[f"{before}probabilities"], archive[f"{before}labels"]
        if probabilities.shape != (len(labels), len(run.classes)):
            raise ValueError(f"it holds {len(labels)} labels and probabilities of shape {probabilities.shape}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"run {run.name} is damaged: {path}: {error}") from None
    if (temperature := missing_temperature(run.path)) != 1:
        probabilities = apply_temperature(probabilities, temperature).astype(np.float32)
    return probabilities, labels
