"""What a run's folder holds: written whole or marked incomplete, read back, listed and compared."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError

if TYPE_CHECKING:
    from mnist_utils._support.arrays import Labels
    from mnist_utils.data.datasets import Dataset


REFERENCE = "reference"
NOTEBOOKS = "notebooks"
INCOMPLETE = "incomplete"
FILES = {  # of a whole run, with what each holds
    "config.json": "every hyper-parameter; data set and its hash; versions; git commit; CPU",
    "history.csv": "accuracy and loss per epoch, training and validation",
    "metrics.json": "accuracy with interval, log loss, calibration error, per-class table, confusion matrix",
    "predictions.npz": "the probabilities for every test image, and the labels",
    "model.keras": "the network for Keras; takes (n, 28, 28, 1) from 0 to 255, white on black",
    "model.tflite": "the same for LiteRT, which answers without TensorFlow",
    "figures/training_curves.png": "accuracy and loss, drawn",
    "figures/confusion_matrix.png": "which digit was taken for which, drawn",
}


class RunError(MnistError):
    """A run that is missing, incomplete, in use, or not comparable."""


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes
    ----------
    path : Path
    config : dict
        Content of ``config.json``: hyper-parameters, data set, versions, machine.
    metrics : dict
        Content of ``metrics.json``; empty until the network is trained and tested.
    incomplete : str
        Why the run is not whole; empty where it is. A run whose notebooks are not done may have metrics all the same.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    incomplete: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def temperature(self) -> float:
        """What calibrates its network, see `evaluation.calibration.apply_temperature`; 1 for a run that recorded none."""
        return float(self.metrics.get("temperature", 1.0))

    @property
    def epochs_done(self) -> int | None:
        """How many epochs of a training that is not finished are over; None where no checkpoint says so."""
        try:
            with (self.path / "checkpoint.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return len(json.loads(str(archive["state"]))["history"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


# --- finding and reading ----------------------------------------------------------------------------------


def results_dir(given: str | Path | None = None) -> Path:
    """Return the folder of all runs: `given`, else ``MNIST_RESULTS``, else the clone's ``results/``, else ``./results``."""
    if given or os.environ.get("MNIST_RESULTS"):
        return Path(given or os.environ["MNIST_RESULTS"])
    return (_clone() if (_clone() / "pyproject.toml").is_file() else Path.cwd()) / "results"


def _clone() -> Path:
    return Path(__file__).parents[2]


def read_run(run: str | Path, results: Path) -> Run:
    """Read a run by its name in `results`, or by the path of its folder.

    Raises
    ------
    RunError
        If there is none; the message names those that exist.
    """
    folder = next((path for path in (results / run, Path(run)) if _is_run(path)), None)
    if folder is None:
        names = sorted(path.name for path in results.glob("*") if _is_run(path))
        raise RunError(f"no run {str(run)!r} in {results}; there are: {', '.join(names) or 'none yet (mnist train)'}")
    if not (folder / "config.json").is_file():
        return Run(folder, _NO_CONFIG, {}, _incomplete_reason(folder / NOTEBOOKS))
    config = read_json(folder / "config.json", "config", "dataset")
    if why := _incomplete_reason(folder):
        return Run(folder, config, {}, why)
    return Run(
        folder,
        config,
        read_json(folder / "metrics.json", "validation", "test", "seconds"),
        _incomplete_reason(folder / NOTEBOOKS),
    )


_NO_CONFIG: dict[str, Any] = {"config": {}, "dataset": {"name": "?", "note": ""}}


def _is_run(folder: Path) -> bool:
    """Say whether a training, or notebooks that did not come to their training, began in `folder`."""
    return (folder / "config.json").is_file() or (folder / NOTEBOOKS / INCOMPLETE).is_file()


def _incomplete_reason(folder: Path) -> str:
    try:
        return (folder / INCOMPLETE).read_text(encoding="utf-8").strip() or "it does not say why"
    except (FileNotFoundError, NotADirectoryError):
        return ""


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read a run's JSON file, which must be an object with these keys."""
    content: dict[str, Any] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
        problem = f" lacks {missing[0]}" if missing else ""
    except (OSError, ValueError) as error:
        problem = f": {error}"
    if problem:
        raise RunError(f"run {path.parent.name} is damaged: {path}{problem}. Delete its folder, or bring the file back")
    return content


def is_complete(folder: Path) -> bool:
    """Say whether `folder` holds a network that was trained and tested to the end."""
    return (folder / "config.json").is_file() and not (folder / INCOMPLETE).exists()


def list_runs(results: Path) -> list[Run]:
    """Read every run in `results`: data set by data set (MNIST first) with the best validation accuracy first.

    Incomplete and damaged runs come last; a damaged one says so in `Run.incomplete`.
    """
    found = []
    for path in sorted(path for path in results.glob("*") if _is_run(path)):
        try:
            found.append(read_run(path, results))
        except RunError as error:
            found.append(Run(path, _NO_CONFIG, {}, str(error)))

    def order(run: Run) -> tuple[bool, bool, str, float]:
        dataset = run.config["dataset"]["name"]
        return bool(run.incomplete), dataset != "mnist", dataset, -run.metrics.get("validation", {}).get("accuracy", 0)

    return sorted(found, key=order)


def find_model(model: str | None, results: Path) -> Path:
    """Find the network to answer with.

    Parameters
    ----------
    model : str, optional
        A run's name, a run's folder, or a ``.tflite`` or ``.keras`` file. Default: the run ``reference`` in `results`, else
        the one that the clone brings along.

    Raises
    ------
    RunError
        If there is none.
    """
    if model and model.endswith((".tflite", ".keras")):
        return Path(model)
    if model is None:
        folder = next((root / REFERENCE for root in (results, _clone() / "results") if is_complete(root / REFERENCE)), None)
        if folder is None:
            raise RunError(f"there is no reference run in {results}; name another with --model (mnist runs lists them)")
        return folder / "model.tflite"
    run = read_run(model, results)
    if not run.metrics:
        raise RunError(f"run {run.name} is incomplete ({run.incomplete}); finish it with the command that began it")
    return run.path / "model.tflite"


def select_run(name: str, results: Path) -> Run:
    """Find the run to look at: the one of that name; for an empty name the newest whole one, else the reference.

    Raises
    ------
    RunError
        If there is none, or it is incomplete.
    """
    if not name:
        whole = [run for run in list_runs(results) if not run.incomplete and run.name != REFERENCE]
        name = max(whole, key=_started).name if whole else REFERENCE
    folder = find_model(None if name == REFERENCE else name, results).parent
    return read_run(folder, folder.parent)


def _started(run: Run) -> datetime:
    return datetime.fromisoformat(run.config.get("started", "1970-01-01T00:00:00+00:00"))


def describe_run(run: Run) -> str:
    """Name a run, its network and what it was trained on, for the title of a figure."""
    config = run.config["config"]
    return f"run {run.name} ({config['model']}, trained on {run.config['dataset']['name']}, seed {config['seed']})"


def read_predictions(run: Run) -> tuple[NDArray[np.float32], Labels]:
    """Read what a run's network answered to the test images when it was recorded.

    Returns
    -------
    probabilities : float32 array, shape (n, 10)
    labels : uint8 array, shape (n,)

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    try:
        with (run.path / "predictions.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
            probabilities, labels = archive["probabilities"], archive["labels"]
        if probabilities.shape != (len(labels), 10):
            raise ValueError(f"it holds {len(labels)} labels and probabilities of shape {probabilities.shape}")
        return probabilities, labels
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"run {run.name} is damaged: {run.path / 'predictions.npz'}: {error}") from None


def load_run_dataset(run: Run, data_dir: str | Path | None = None) -> Dataset:
    """Load the data set that a run was trained and tested on, split as it was then.

    Raises
    ------
    DataError
        If it cannot be had.
    RunError
        If the one that was found is not the one of the run.
    """
    from mnist_utils.data.datasets import load_dataset

    config, facts = run.config["config"], run.config["dataset"]
    dataset = load_dataset(
        facts["name"],
        data_dir=data_dir,
        validation_fraction=config["validation_fraction"],
        train_limit=config["train_limit"],
    )
    if dataset.sha256 != facts["sha256"]:
        raise RunError(
            f"run {run.name} was made with a {facts['name']} of SHA-256 {facts['sha256'][:12]}..., "
            f"{dataset.source} has {dataset.sha256[:12]}...: not the same images. Name another folder with data_dir"
        )
    return dataset


def run_of_model(model: Path) -> Run | None:
    """Return the run that a network's file belongs to, if it lies in the folder of one that can be read."""
    try:
        return read_run(model.parent, model.parent.parent)
    except RunError:
        return None


def check_trained(run: Run, wanted: str) -> None:
    """Refuse a run whose network is not trained and tested; `wanted` is what it therefore has none of.

    Raises
    ------
    RunError
        Says why the run is incomplete.
    """
    if not run.metrics:
        raise RunError(f"run {run.name} is incomplete ({run.incomplete}): it has no {wanted}")
