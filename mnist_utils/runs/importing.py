"""A model that was made elsewhere becomes a run: brought to the contract of all models, tested, calibrated, recorded."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_complete, mark_incomplete, new_run_folder, run_lock
from mnist_utils.runs.model_files import ModelError, load_keras_file, reason_of, refuse_other_forms
from mnist_utils.runs.results import file_sha256, write_config, write_results
from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.backend import keras
    from mnist_utils.training.config import TrainConfig

SCALES = {"1/255": 1 / 255, "1": 1.0}
# Hyper-parameters of a training that nobody here has seen.
_UNKNOWN = (
    "augment", "conv_dropout", "dense_dropout", "batch_size", "optimizer", "learning_rate", "momentum", "weight_decay",
    "schedule", "label_smoothing", "patience", "precision", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """What a model predicts for the validation images with one scale of their values.

    Attributes
    ----------
    scale : float
    probabilities : float32 array, shape (n, classes)
    correct : bool array, shape (n,)
    log_loss : float
        In nat.
    """

    scale: float
    probabilities: NDArray[np.float32]
    correct: NDArray[np.bool_]
    log_loss: float

    @property
    def accuracy(self) -> float:
        """The share of the images that are predicted correctly."""
        return float(self.correct.mean())


@dataclass(frozen=True)
class Foreign:
    """A model that was made elsewhere, ready to be recorded.

    Attributes
    ----------
    model : keras.Model
        Keeps the contract of all models; not calibrated yet.
    config : TrainConfig
        Its name and the data set; the hyper-parameters of its training are None.
    sha256 : str
        Of the file.
    notes : list of str
        What was added to it and why, a sentence each.
    """

    model: keras.Model
    config: TrainConfig
    sha256: str
    notes: list[str]


def parse_scale(given: str | None) -> float | None:
    """Read what a model's values are to be multiplied by; None: both are tried.

    Raises
    ------
    ConfigError
        If it is neither 1/255 nor 1.
    """
    if given is None:
        return None
    try:
        number = float(given) if "/" not in given else float(given.split("/")[0]) / float(given.split("/")[1])
    except (ValueError, ZeroDivisionError):
        number = np.nan
    found = next((scale for scale in SCALES.values() if np.isclose(number, scale, rtol=0.01)), None)
    if found is None:
        raise ConfigError(
            f"scale: given {given!r}; allowed: 1/255 (the model takes values from 0 to 1) or 1 (it takes 0 to 255)"
        )
    return found


def check_new_name(name: str, results: Path) -> None:
    """Refuse the name of a run that exists.

    Raises
    ------
    RunError
        If there is anything in its folder.
    """
    folder = results / name
    if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise RunError(f"run {name} exists; choose another name (--run), or delete {folder}")


def read_foreign(
    path: Path, config: TrainConfig, dataset: Dataset, *, scale: float | None = None, logits: bool = False
) -> Foreign:
    """Load a model that was made elsewhere, and add what it lacks.

    Parameters
    ----------
    path : Path
        A ``.keras`` file.
    config : TrainConfig
        From `make_config`, with the data set.
    dataset : Dataset
        The one that the model is for.
    scale : float, optional
        What the values from 0 to 255 are multiplied by before the model gets them. Default: 1/255 or 1, whichever predicts
        the validation images better.
    logits : bool
        The model returns logits, whatever its last activation is.

    Raises
    ------
    ConfigError, ModelError
        If it is no such file, cannot be loaded without running code, or takes or returns something else.
    """
    from mnist_utils.training.contract import describe_additions, keep_contract

    refuse_other_forms(path)
    if path.suffix != ".keras":
        raise ConfigError(f"model: given {path}; allowed: a .keras file, as Keras's model.save('NAME.keras') writes it")
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    made, digest, classes = load_keras_file(path), file_sha256(path), len(dataset.classes)
    try:
        plain = keep_contract(made, path.name, classes, scale=1, logits=logits)
        tried = [_try(plain, dataset, one) for one in (SCALES.values() if scale is None else [scale])]
    except (ConfigError, KeyboardInterrupt):
        raise
    except Exception as error:  # of whatever kind: the model is not ours
        raise ModelError(f"{path} cannot predict images: {reason_of(error)}") from None
    if not all(np.isfinite(one.probabilities).all() for one in tried):
        raise ModelError(f"{path} predicts what is not a number; its weights may be damaged, or its training diverged")
    best = _best(tried)
    model = keep_contract(made, path.name, classes, scale=best.scale, logits=logits)
    added = [f"{path.name}: {note}" for note in describe_additions(model) if "softmax" in note]
    unknown: dict[str, Any] = dict.fromkeys(_UNKNOWN)
    return Foreign(
        model=model,
        config=config.model_copy(update=unknown | {"model": f"{path.name}@{digest[:8]}", "epochs": 0}),
        sha256=digest,
        notes=[*added, _describe(tried, best, given=scale is not None), *_doubts(best, dataset)],
    )


def record_foreign(foreign: Foreign, dataset: Dataset, name: str, results: Path) -> Run:
    """Write a run of a model that was made elsewhere; nothing stays of one that could not be written.

    Parameters
    ----------
    foreign : Foreign
        From `read_foreign`; its model may be changed in place.
    dataset : Dataset
    name, results : str, Path
        The run's folder, and the folder of all runs.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, or there is such a run.
    OSError
        If it cannot be written.
    """
    folder = new_run_folder(name, results)
    try:
        with run_lock(folder, name):
            check_new_name(name, results)
            try:
                _write(foreign, dataset, folder)
            except BaseException:
                _empty(folder)
                raise
    finally:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    return read_run(folder, results)


def _write(foreign: Foreign, dataset: Dataset, folder: Path) -> None:
    mark_incomplete(folder, "training", "the import was not finished")
    network = {"name": foreign.config.model.rpartition("@")[0], "sha256": foreign.sha256}
    write_config(folder, foreign.config, dataset, {"network": network, "from": None}, foreign.model.dtype_policy.name)
    write_results(read_run(folder, folder.parent), dataset, foreign.model)
    mark_complete(folder, "training")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":  # `run_lock` removes that
            path.unlink()


def _try(plain: keras.Model, dataset: Dataset, scale: float) -> Tried:
    from mnist_utils.training.fit import predict_probabilities

    images = dataset.x_validation.astype(np.float32) * np.float32(scale)
    found = predict_probabilities(plain, images)  # type: ignore[arg-type]
    rows = np.maximum(found[np.arange(len(found)), dataset.y_validation].astype(np.float64), 1e-12)
    return Tried(scale, found, found.argmax(axis=1) == dataset.y_validation, float(-np.log(rows).mean()))


def _best(tried: list[Tried]) -> Tried:
    """Choose the scale with more correct predictions; where that may be chance, the one with the lower log loss.

    A network of ReLUs that takes 0 to 1 predicts much the same for values from 0 to 255, but is far too sure of it.
    """
    from mnist_utils.evaluation.statistics import mcnemar_test

    if len(tried) == 1:
        return tried[0]
    one, other = tried
    if mcnemar_test(one.correct, other.correct).p_value >= 0.05:
        return min(tried, key=lambda found: found.log_loss)
    return max(tried, key=lambda found: found.accuracy)


def _describe(tried: list[Tried], best: Tried, *, given: bool) -> str:
    divided = best.scale != 1
    done = "the values are divided by 255" if divided else "the values stay from 0 to 255"
    found = f"{100 * best.accuracy:.1f} % of the validation images are correct (log loss {best.log_loss:.2f})"
    if given:
        return f"{done}, as --scale says: {found}"
    other = next(one for one in tried if one is not best)
    instead = "as they are, from 0 to 255" if divided else "divided by 255"
    return f"{done}: {found}; {instead}, {100 * other.accuracy:.1f} % ({other.log_loss:.2f})"


_MUCH = 1.0  # nats of log loss; a model that is correct as often as it is sure has less


def _doubts(best: Tried, dataset: Dataset) -> list[str]:
    classes = len(dataset.classes)
    if best.accuracy <= min(2 / classes, (1 + 1 / classes) / 2):  # the latter where there are two or three classes
        return [
            f"only {100 * best.accuracy:.1f} % are correct, and chance gives {100 / classes:.1f} %: is it a model of "
            f"{dataset.name}, for white on black, and does it take values from 0 to 255 or from 0 to 1?"
        ]
    overconfident = (
        f"its log loss is {best.log_loss:.1f}, much confidence in incorrect predictions: does it take another range, as "
        "-1 to 1? Then put a keras.layers.Rescaling before it"
    )
    trained_on = (
        "if it was trained on the validation images too, their accuracy and the calibration are too good; the test images' "
        "accuracy is not"
    )
    return [*[overconfident] * (best.log_loss > _MUCH), trained_on]
