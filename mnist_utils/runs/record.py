"""Record a run: train, evaluate, draw, write each file atomically; mark the run incomplete until the last one."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support import files
from mnist_utils._support.arrays import noise_images
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_complete, mark_incomplete, new_run_folder, remove_leftovers, run_lock
from mnist_utils.runs.inference import load_keras_model, load_model
from mnist_utils.runs.model_files import ModelError
from mnist_utils.runs.results import file_sha256, write_config, write_results
from mnist_utils.runs.run import AUGMENT, NETWORK, Run, RunError
from mnist_utils.training import CHECKPOINT

_LITERT_TOLERANCE = 1e-3  # between Keras's probabilities and LiteRT's

if TYPE_CHECKING:
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.backend import keras
    from mnist_utils.training.config import TrainConfig


def record_run(
    config: TrainConfig,
    dataset: Dataset,
    name: str,
    results: Path,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
    lock_seconds: float = 0,
) -> Run:
    """Train a model, test it once, and write everything about it into ``results/name``.

    An incomplete run of that name with the same configuration and data is resumed; a complete one is returned as it is.

    Parameters
    ----------
    config : TrainConfig
        From `make_config`, which also takes your own network.
    dataset : Dataset
    name, results : str, Path
        The run's folder, and the folder of all runs.
    callbacks : sequence of keras.callbacks.Callback
        See `training.fit.train`.
    progress : bool
        Show it.
    lock_seconds : float
        How long to wait for another process that uses the run.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, the run was started with something else, another process uses it, or the network
        keeps not to its contract.
    OSError
        If it cannot be written: what was written stays, and the same call resumes.
    """
    folder = new_run_folder(name, results)
    with run_lock(folder, name, seconds=lock_seconds):
        return _record_locked(config, dataset, folder, callbacks, progress)


def _record_locked(
    config: TrainConfig, dataset: Dataset, folder: Path, callbacks: Sequence[keras.callbacks.Callback], progress: bool
) -> Run:
    remove_leftovers(folder)
    opened = _open_folder(config, dataset, folder)
    if opened.metrics:
        return opened
    # What `auto` stood for when the run began: another machine might choose otherwise.
    config = config.model_copy(update={"precision": opened.facts["cpu"]["precision"]})
    try:
        mark_incomplete(folder, "training", "training was not finished")
        _train_and_write(config, dataset, opened, callbacks, progress)
    except KeyboardInterrupt:
        mark_incomplete(folder, "training", "stopped by Ctrl-C")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk: the earlier mark still stands
            mark_incomplete(folder, "training", f"{type(error).__name__}: {error}".removesuffix(": "))
        raise
    (folder / CHECKPOINT).unlink(missing_ok=True)
    mark_complete(folder, "training")
    return read_run(folder, folder.parent)


def check_same_config(run: Run, wanted: dict[str, Any]) -> None:
    """Refuse to resume a run that was started with something else.

    Parameters
    ----------
    run : Run
    wanted : dict
        Fields of `TrainConfig`, and perhaps ``sha256`` of the data set.

    Raises
    ------
    RunError
        Names what differs.
    """
    if run.imported:
        raise RunError(f"run {run.name} is an imported model. Choose another name (--run), or delete {run.path}")
    had = run.config.model_dump() | {"sha256": run.sha256}
    differing = [
        f"{name} {had.get(name)}, now {value}"
        for name, value in wanted.items()
        if _without_file(had.get(name)) != _without_file(value)
    ]
    if differing:
        further = f", or train it further in another run (--from {run.name})" if run.metrics else ""
        raise RunError(
            f"run {run.name} was started with {'; '.join(differing)}. "
            f"Choose another name (--run), or delete {run.path}{further}"
        )


def _without_file(value: Any) -> Any:
    """Leave out the file's name of an own function: ``mine.py:wider@1a2b3c4d`` is known by its function and its hash."""
    return re.sub(r"^[^@]*\.py(?=(:[^:@]+)?@[0-9a-f]{8}$)", "", value) if isinstance(value, str) else value


def check_resumable(folder: Path, config: TrainConfig, dataset: Dataset) -> int:
    """Refuse a run's folder that was started with something else; return how many epochs are done.

    Raises
    ------
    RunError
        Names what differs.
    """
    if not (folder / "config.json").exists():
        return 0
    run = read_run(folder, folder.parent)
    check_same_config(run, config.model_dump() | {"sha256": dataset.sha256})
    return run.epochs_done or 0


def _open_folder(config: TrainConfig, dataset: Dataset, folder: Path) -> Run:
    """Open the folder of a new or an incomplete run; refuse one that was started with something else."""
    from mnist_utils.training.fit import check_network
    from mnist_utils.training.precision import choose_precision

    check_resumable(folder, config, dataset)
    if (folder / "config.json").exists():
        return read_run(folder, folder.parent)
    start = find_start(config, folder.parent, dataset.sha256)
    check_network(config, len(dataset.classes), make_initialize(config, folder.parent))
    if not config.network.built_in:
        _check_exported(config, len(dataset.classes))
    mark_incomplete(folder, "training", "training was not finished")  # before config.json makes the folder a run
    network = config.network
    if not network.built_in:
        files.write_text_atomic(folder / NETWORK, network.text)
    if config.own_augment:
        files.write_text_atomic(folder / AUGMENT, config.own_augment.text)
    origin = {
        "network": {"name": network.name, "sha256": network.source.sha256},
        "from": {"run": start.name, "sha256": file_sha256(start.path / "model.keras")} if start else None,
    }
    write_config(folder, config, dataset, origin, choose_precision(config.precision))
    return read_run(folder, folder.parent)


def _check_exported(config: TrainConfig, classes: int) -> None:
    """Refuse your own network if LiteRT, which predicts with the run, cannot run it or predicts otherwise."""
    from mnist_utils.training.build import build_model
    from mnist_utils.training.fit import predict_probabilities

    model, images = build_model(config.network, classes=classes), noise_images()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "model.tflite")
        try:
            model.export(path, format="litert", verbose=False)
            difference = float(np.abs(load_model(path)(images) - predict_probabilities(model, images)).max())
        except (ModelError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"model: LiteRT, which predicts with every run, cannot run {config.network.name}: "
                f"{str(error).splitlines()[0]}. Recurrent layers need unroll=True"
            ) from None
    if not difference < _LITERT_TOLERANCE:
        raise ConfigError(
            f"model: in LiteRT, which predicts with every run, {config.network.name} predicts otherwise, by "
            f"{difference:.1g}; allowed: layers that compute in float32"
        )


def find_start(config: TrainConfig, results: Path, sha256: str = "") -> Run | None:
    """Return the run from whose weights a training starts; None if from fresh ones.

    Parameters
    ----------
    config : TrainConfig
    results : Path
        Folder of all runs.
    sha256 : str
        Of the training's data set, if it is to be compared.

    Raises
    ------
    RunError
        If there is no such run, it is incomplete, or it was trained on images that would now be for validation.
    """
    if not config.from_run:
        return None
    run = read_run(config.from_run, results)
    run.trained("weights to start from")
    if run.sha256 == sha256 and run.config.validation_fraction != config.validation_fraction:
        raise RunError(
            f"run {run.name} was trained with validation_fraction {run.config.validation_fraction:g}, now "
            f"{config.validation_fraction:g}: it would be validated on images that it was trained on"
        )
    return run


def make_initialize(config: TrainConfig, results: Path) -> Callable[[keras.Model], str] | None:
    """Return what gives a new model the weights that a training starts from; None for fresh ones. See `find_start`."""
    from mnist_utils.training.initialize import copy_weights

    if (start := find_start(config, results)) is None:
        return None
    path, temperature = start.path / "model.keras", start.trained().temperature
    return lambda model: copy_weights(load_keras_model(path), model, run=start.name, temperature=temperature)


def _check_start(config: TrainConfig, run: Run, sha256: str) -> None:
    """Refuse to begin again from other weights than the run's configuration says."""
    start = find_start(config, run.path.parent)
    if start and file_sha256(start.path / "model.keras") != sha256:
        raise RunError(f"run {run.name} was started from a run {start.name} that was trained anew since; delete {run.path}")


def _train_and_write(
    config: TrainConfig, dataset: Dataset, run: Run, callbacks: Sequence[keras.callbacks.Callback], progress: bool
) -> None:
    # TensorFlow: whoever lists or compares runs does without.
    from mnist_utils.training.fit import train

    resumes = (run.path / CHECKPOINT).exists()  # then it holds the weights
    if not resumes and (begun := run.facts.get("from")):
        _check_start(config, run, begun["sha256"])
    initialize = None if resumes else make_initialize(config, run.path.parent)
    trained = train(config, dataset, run.path, initialize=initialize, callbacks=callbacks, progress=progress)
    mark_incomplete(run.path, "training", "evaluation was not finished")
    write_results(run, dataset, trained.model, trained.history, trained.curve)
