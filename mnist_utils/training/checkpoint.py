"""What a killed training resumes from."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError
from mnist_utils._support import files
from mnist_utils.training.backend import keras, ops


class TrainingError(MnistError):
    """Training that cannot go on."""


@dataclass
class CheckpointState:
    """What a checkpoint holds beside the weights."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: list[NDArray[Any]] = field(default_factory=list)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All that training changes: weights, the dropouts' random states, the optimiser's moments and step."""
    return [*model.variables, *model.optimizer.variables]


def save_checkpoint(path: Path, model: keras.Model, state: CheckpointState) -> None:
    """Write the state of a training, atomically."""
    words = json.dumps({"history": state.history, "best_epoch": state.best_epoch})
    arrays = {f"variable_{i}": ops.convert_to_numpy(value) for i, value in enumerate(_variables(model))}
    arrays |= {f"best_{i}": value for i, value in enumerate(state.best_weights)}
    files.write_atomic(path, lambda beside: np.savez(beside, state=np.array(words), **arrays))


def restore_checkpoint(path: Path, model: keras.Model) -> CheckpointState:
    """Read a checkpoint into the model; an empty state where there is none."""
    if not path.exists():
        return CheckpointState()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            words = json.loads(str(archive["state"]))
            for i, variable in enumerate(_variables(model)):
                variable.assign(archive[f"variable_{i}"])
            best = [archive[f"best_{i}"] for i in range(sum(name.startswith("best_") for name in archive.files))]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Delete it to train from the start.") from None
    return CheckpointState(words["history"], words["best_epoch"], best)


def best_loss(state: CheckpointState) -> float:
    """Return the lowest validation loss so far."""
    return state.history[state.best_epoch - 1]["val_loss"]
