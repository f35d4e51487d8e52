"""A recorded run, evaluated again: accuracy, calibration, other data, and robustness to changed images."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils._support import files
from mnist_utils._support.arrays import Images, Labels
from mnist_utils.evaluation.calibration import ErrorCount, calibration_error_interval, count_errors
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.runs.environment import git_commit, package_versions
from mnist_utils.runs.run import Run, RunError

if TYPE_CHECKING:
    from mnist_utils.evaluation.robustness import Robustness


ROBUSTNESS = "robustness.json"
ROBUSTNESS_FIGURE = "figures/robustness.png"


@dataclass(frozen=True)
class TestSummary:
    """What a run recorded about its test images.

    Attributes
    ----------
    n : int
        Test images.
    accuracy, accuracy_interval : float, (float, float)
        0 to 1, with Wilson's 95 % interval.
    expected_calibration_error, expected_calibration_error_interval : float, (float, float)
        See `evaluation.calibration.calibration_error_interval`.
    log_loss : float
        In nat.
    errors : ErrorCount
        See `evaluation.calibration.count_errors`.
    """

    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    expected_calibration_error: float
    expected_calibration_error_interval: tuple[float, float]
    log_loss: float
    errors: ErrorCount


def summarize_run(run: Run) -> TestSummary:
    """Compute what a run's recorded predictions say; neither its model nor its data set is needed.

    Raises
    ------
    RunError
        If the run is incomplete or damaged.
    """
    run.trained("model to evaluate yet")
    return _summarize(*run.predictions())


def _summarize(probabilities: NDArray[Any], labels: NDArray[Any]) -> TestSummary:
    found = compute_metrics(probabilities, labels)
    return TestSummary(
        n=found.n,
        accuracy=found.accuracy,
        accuracy_interval=found.accuracy_interval,
        expected_calibration_error=found.expected_calibration_error,
        # One image says nothing about it.
        expected_calibration_error_interval=calibration_error_interval(probabilities, labels) if found.n > 1 else (0.0, 1.0),
        log_loss=found.log_loss,
        errors=count_errors(probabilities, labels),
    )


@dataclass(frozen=True)
class DataSummary:
    """What a run's model predicts on labelled images of other data.

    Attributes
    ----------
    source : str
        Where they were found.
    part : str
        Which of them: ``all images`` or ``the test part``.
    note : str
        What must be shown with the numbers; empty if nothing.
    summary : TestSummary
    """

    source: str
    part: str
    note: str
    summary: TestSummary


def evaluate_data(
    run: Run,
    name: str,
    *,
    data_dir: str | Path | None = None,
    raw: bool = False,
    skip_unreadable: bool = False,
    done: Callable[[int, int], None] | None = None,
) -> DataSummary:
    """Let a run's model predict labelled images of other data. Nothing is written into the run.

    Parameters
    ----------
    run : Run
    name : str
        The path of your own data, of which all images are predicted, or the test part if they have one; or a data set's
        name, of which the test part is predicted. The run must know each class by its name.
    data_dir, raw, skip_unreadable, done
        See `data.datasets.load_dataset`.

    Raises
    ------
    RunError, DataError, ConfigError, ModelError
        If the run is incomplete or lacks a class, the data cannot be read, or the model cannot be loaded.
    """
    from mnist_utils.data.datasets import load_dataset, refuse_folder
    from mnist_utils.data.own import is_path

    run.trained("model to evaluate yet")
    refuse_folder(name, data_dir)
    if is_path(name):
        images, labels, classes, found = _own_images(run, Path(name).expanduser().resolve(), raw, skip_unreadable, done)
        source, part, note = found
    else:
        dataset = load_dataset(name, data_dir=data_dir, raw=raw, skip_unreadable=skip_unreadable)
        images, labels, classes = dataset.x_test, dataset.y_test, dataset.classes
        source, part, note = dataset.name, "the test part", dataset.note
    if unknown := [one for one in classes if one not in run.classes]:
        raise RunError(f"dataset: {source} has the class {unknown[0]}; run {run.name} knows {', '.join(run.classes)}")
    ours = np.array([run.classes.index(one) for one in classes])[labels]
    return DataSummary(source, part, note, _summarize(run.predict(images), ours))


def _own_images(
    run: Run, path: Path, raw: bool, skip_unreadable: bool, done: Callable[[int, int], None] | None
) -> tuple[Images, Labels, tuple[str, ...], tuple[str, str, str]]:
    """Read images, labels and classes; and say from where, which, and with what note."""
    from mnist_utils.data.datasets import hash_arrays
    from mnist_utils.data.idx import DataError
    from mnist_utils.data.own import read_parts, split_parts

    same = run.config.dataset == str(path)
    if same and raw != run.config.raw:
        raise ConfigError(
            f"raw: given {str(raw).lower()}; allowed for the data that run {run.name} was trained on: "
            f"{str(run.config.raw).lower()}, as it was then, so that its test part is found again"
        )
    found = read_parts(path, raw=raw, skip_unreadable=skip_unreadable, least=1, done=done)
    (x, y), part = found.parts.get("test", found.parts["train"]), "the test part" if "test" in found.parts else "all images"
    notes = [found.note]
    if found.pictures and run.config.raw and not raw:
        notes.append("the run was trained on raw pictures, and these are not (--raw)")
    with contextlib.suppress(DataError):  # too few images for a test part: not what the run was trained on
        own = split_parts(path, found)
        if part == "all images" and hash_arrays(own.x, own.y, own.x_test, own.y_test) == run.sha256:
            x, y, part = own.x_test, own.y_test, "the test part"
            notes.append("the run was trained on the others of these images")
            same = False
    if same and part == "all images":
        notes.append("these data have changed since the run was trained on them: it has seen most of these images")
    return x, y, found.classes, (str(path), part, "; ".join(filter(None, notes)))


def evaluate_robustness(
    run: Run,
    *,
    data_dir: str | Path | None = None,
    own: Sequence[str | Callable[..., Any]] = (),
    done: Callable[[int, int], None] | None = None,
) -> Robustness:
    """Evaluate a run's model on corrupted test images, and on digits of another data set; see `measure_robustness`.

    Parameters
    ----------
    run : Run
    data_dir : path, optional
        See `data.datasets.load_dataset`.
    own : sequence of str or callable
        Your own corruptions: ``file.py``, whose function is then ``corrupt``, or ``file.py:function``, or functions; see
        `data.own_change.change_images`.
    done : callable, optional
        Told after each step which one it was, from 1, of how many.

    Raises
    ------
    RunError, DataError, ModelError
        If the run is incomplete, its data set is not available, or its model cannot be loaded.
    ConfigError
        If a corruption of yours cannot be used.
    """
    from mnist_utils._support.own_function import is_own, read_function
    from mnist_utils.data.datasets import load_dataset
    from mnist_utils.evaluation.robustness import measure_robustness

    if strange := [one for one in own if not is_own(one)]:
        raise ConfigError(f"corruption: given {strange[0]}; allowed: file.py or file.py:function")
    yours = tuple(read_function(one, option="corruption", default="corrupt") for one in own)
    run.trained("model to evaluate yet")
    dataset = run.dataset(data_dir)
    others = (load_dataset("digits"),) if dataset.name == "mnist" and not dataset.own else ()
    return measure_robustness(run.predict, dataset.x_test, dataset.y_test, others=others, own=yours, done=done)


def write_robustness(run: Run, found: Robustness) -> list[Path]:
    """Write the table and its figure into the run's folder, where its report finds them, and its model card anew.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    RunError, OSError
        If it cannot be written.
    """
    from matplotlib.figure import Figure

    from mnist_utils import plots
    from mnist_utils.runs.card import write_card  # which reads what is written here

    if not os.access(run.path, os.W_OK):
        raise RunError(f"{run.path} cannot be written, so nothing was kept there")
    written = [run.path / ROBUSTNESS, run.path / ROBUSTNESS_FIGURE]
    files.write_text_atomic(written[0], json.dumps(robustness_json(found), indent=2))
    figure = plots.robustness_dots(found, title=robustness_title(run, found), figure=Figure())
    written[1].parent.mkdir(exist_ok=True)
    files.write_atomic(written[1], lambda path: figure.savefig(path, dpi=100))
    return [*written, write_card(run)]


def read_robustness(folder: Path) -> dict[str, Any] | None:
    """Read what `write_robustness` wrote into a run's folder; None where robustness was not measured.

    Raises
    ------
    RunError
        If it is damaged.
    """
    path = folder / ROBUSTNESS
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if missing := {"mean", "mean_interval", "worst", "rows"} - set(content):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); make it again: mnist evaluate {folder} --robustness") from None
    return content


def robustness_json(found: Robustness) -> dict[str, object]:
    """Put what was found, without its samples, into what JSON can hold, with what it was found by.

    null stands for what cannot be compared.
    """
    rows = json.loads(found.table.reset_index().to_json(orient="records", double_precision=15))
    interval = [None if math.isnan(end) else end for end in found.mean_interval]
    made_by = {"seed": found.seed, "git_commit": git_commit(), "versions": package_versions()}
    return {"mean": found.mean, "mean_interval": interval, "worst": found.worst, "rows": rows} | made_by


def robustness_title(run: Run, found: Robustness) -> str:
    """Say in two lines what was found, for a figure."""
    low, high = found.mean_interval
    return (
        f"MNIST-C: mean accuracy {found.mean:.1%} (95 %: {low:.1%} to {high:.1%}), worst "
        f"{found.worst.replace('_', ' ')} with {found.worst_accuracy:.1%}\n"
        f"{run.describe()}, n = {found.table['n'].iloc[0]:,} test images"
    )
