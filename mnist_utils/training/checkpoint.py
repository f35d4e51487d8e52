"""Checkpoints, from which an interrupted training resumes."""

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
    """Training cannot continue."""


@dataclass
class CheckpointState:
    """A checkpoint's content besides the weights."""

    history: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: list[NDArray[Any]] = field(default_factory=list)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """List everything that training changes: weights, random states of dropout, the optimiser's moments and step."""
    return [*model.variables, *model.optimizer.variables]


def save_checkpoint(path: Path, model: keras.Model, state: CheckpointState) -> None:
    """Write the state of a training atomically."""
    text = json.dumps({"history": state.history, "curve": state.curve, "best_epoch": state.best_epoch})
    arrays = {f"variable_{i}": ops.convert_to_numpy(value) for i, value in enumerate(_variables(model))}
    arrays |= {f"best_{i}": value for i, value in enumerate(state.best_weights)}
    files.write_atomic(path, lambda temporary: np.savez(temporary, state=np.array(text), **arrays))


def restore_checkpoint(path: Path, model: keras.Model) -> CheckpointState:
    """Read a checkpoint into the model; return an empty state if there is none."""
    if not path.exists():
        return CheckpointState()
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            state = json.loads(str(archive["state"]))
            for i, variable in enumerate(_variables(model)):
                variable.assign(archive[f"variable_{i}"])
            best = [archive[f"best_{i}"] for i in range(sum(name.startswith("best_") for name in archive.files))]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Delete it to start the training again.") from None
    return CheckpointState(state["history"], state.get("curve", []), state["best_epoch"], best)


def best_loss(state: CheckpointState) -> float:
    """Return the lowest validation loss so far."""
    return state.history[state.best_epoch - 1]["val_loss"]
