"""What a run's folder holds: written whole or marked incomplete, read back, listed and compared."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils import ConfigError, MnistError, atomic, interrupts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mnist_utils.config import TrainConfig
    from mnist_utils.data import Dataset, Labels
    from mnist_utils.evaluation import PairedComparison

REFERENCE = "reference"
NOTEBOOKS = "notebooks"
_INCOMPLETE = "incomplete"
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
_PACKAGES = ("mnist-workbench", "tensorflow", "tensorflow-cpu", "keras", "numpy", "scikit-learn", "ai-edge-litert")


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
        """What calibrates its network, see `evaluation.apply_temperature`; 1 for a run that recorded none."""
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
    return Path(__file__).parent.parent


def read(run: str | Path, results: Path) -> Run:
    """Read a run by its name in `results`, or by the path of its folder.

    Raises
    ------
    RunError
        If there is none; the message names those that exist.
    """
    folder = next((path for path in (results / run, Path(run)) if _begun(path)), None)
    if folder is None:
        names = sorted(path.name for path in results.glob("*") if _begun(path))
        raise RunError(f"no run {str(run)!r} in {results}; there are: {', '.join(names) or 'none yet (mnist train)'}")
    if not (folder / "config.json").is_file():
        return Run(folder, _NO_CONFIG, {}, _why(folder / NOTEBOOKS))
    config = _json(folder / "config.json", "config", "dataset")
    if why := _why(folder):
        return Run(folder, config, {}, why)
    return Run(folder, config, _json(folder / "metrics.json", "validation", "test", "seconds"), _why(folder / NOTEBOOKS))


_NO_CONFIG: dict[str, Any] = {"config": {}, "dataset": {"name": "?", "note": ""}}


def _begun(folder: Path) -> bool:
    """Say whether a training, or notebooks that did not come to their training, began in `folder`."""
    return (folder / "config.json").is_file() or (folder / NOTEBOOKS / _INCOMPLETE).is_file()


def _why(folder: Path) -> str:
    try:
        return (folder / _INCOMPLETE).read_text(encoding="utf-8").strip() or "it does not say why"
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _json(path: Path, *keys: str) -> dict[str, Any]:
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


def is_whole(folder: Path) -> bool:
    """Say whether `folder` holds a network that was trained and tested to the end."""
    return (folder / "config.json").is_file() and not (folder / _INCOMPLETE).exists()


def list_runs(results: Path) -> list[Run]:
    """Read every run in `results`: data set by data set (MNIST first) with the best validation accuracy first.

    Incomplete and damaged runs come last; a damaged one says so in `Run.incomplete`.
    """
    found = []
    for path in sorted(path for path in results.glob("*") if _begun(path)):
        try:
            found.append(read(path, results))
        except RunError as error:
            found.append(Run(path, _NO_CONFIG, {}, str(error)))

    def order(run: Run) -> tuple[bool, bool, str, float]:
        dataset = run.config["dataset"]["name"]
        return bool(run.incomplete), dataset != "mnist", dataset, -run.metrics.get("validation", {}).get("accuracy", 0)

    return sorted(found, key=order)


def as_table(found: list[Run]) -> pd.DataFrame:
    """Put whole runs into a table: run, data, network, epochs, seed, validation, 95 % interval, seconds of training."""
    import pandas as pd

    return pd.DataFrame(
        {
            "run": run.name,
            "data": run.config["dataset"]["name"],
            "network": run.config["config"]["model"],
            "epochs": run.config["config"]["epochs"],
            "seed": run.config["config"]["seed"],
            "validation": f"{run.metrics['validation']['accuracy']:.2%}",
            "95 % interval": "{:.2%} to {:.2%}".format(*run.metrics["validation"]["accuracy_interval"]),
            "seconds": round(run.metrics["seconds"]["training"]),
        }
        for run in found
        if run.metrics
    )


def model_path(model: str | None, results: Path) -> Path:
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
        folder = next((root / REFERENCE for root in (results, _clone() / "results") if is_whole(root / REFERENCE)), None)
        if folder is None:
            raise RunError(f"there is no reference run in {results}; name another with --model (mnist runs lists them)")
        return folder / "model.tflite"
    run = read(model, results)
    if not run.metrics:
        raise RunError(f"run {run.name} is incomplete ({run.incomplete}); finish it with the command that began it")
    return run.path / "model.tflite"


def choose(name: str, results: Path) -> Run:
    """Find the run to look at: the one of that name; for an empty name the newest whole one, else the reference.

    Raises
    ------
    RunError
        If there is none, or it is incomplete.
    """
    if not name:
        whole = [run for run in list_runs(results) if not run.incomplete and run.name != REFERENCE]
        name = max(whole, key=_started).name if whole else REFERENCE
    folder = model_path(None if name == REFERENCE else name, results).parent
    return read(folder, folder.parent)


def _started(run: Run) -> datetime:
    return datetime.fromisoformat(run.config.get("started", "1970-01-01T00:00:00+00:00"))


def describe(run: Run) -> str:
    """Name a run, its network and what it was trained on, for the title of a figure."""
    config = run.config["config"]
    return f"run {run.name} ({config['model']}, trained on {run.config['dataset']['name']}, seed {config['seed']})"


def predictions(run: Run) -> tuple[NDArray[np.float32], Labels]:
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


def load_dataset_of(run: Run, data_dir: str | Path | None = None) -> Dataset:
    """Load the data set that a run was trained and tested on, split as it was then.

    Raises
    ------
    DataError
        If it cannot be had.
    RunError
        If the one that was found is not the one of the run.
    """
    from mnist_utils.data import load_dataset

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


def run_of(model: Path) -> Run | None:
    """Return the run that a network's file belongs to, if it lies in the folder of one that can be read."""
    try:
        return read(model.parent, model.parent.parent)
    except RunError:
        return None


# --- writing ----------------------------------------------------------------------------------------------


def new_name(config: TrainConfig, results: Path) -> str:
    """Make a folder for a run in `results`, named by date and network, and return its name."""
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{config.model}"
    results.mkdir(parents=True, exist_ok=True)
    for name in (stem, *(f"{stem}-{n}" for n in range(2, 1000))):  # others may begin in the same second
        with contextlib.suppress(FileExistsError):
            (results / name).mkdir()
            return name
    raise RunError(f"there are a thousand runs {stem} in {results}; give this one a name with --run")


def new_folder(name: str, results: Path, *, option: str = "run") -> Path:
    """Make the folder of the run `name` in `results`, if it is not there yet; the name was given as `option`.

    Raises
    ------
    ConfigError
        If the name cannot be a folder's.
    OSError
        If it cannot be made.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name, re.ASCII):
        raise ConfigError(
            f"{option}: given {name!r}; allowed: up to 100 letters, digits, '_', '-', '.', '+' and '=', no leading '.'"
        )
    (results / name).mkdir(parents=True, exist_ok=True)
    return results / name


def record(config: TrainConfig, dataset: Dataset, name: str, results: Path, *, progress: bool = True) -> Run:
    """Train a network, test it once, and write everything about it into ``results/name``.

    A run of that name that was begun with the same configuration and data is finished; one that is whole is
    returned as it is. Until the last file is written the folder is marked incomplete.

    Raises
    ------
    ConfigError, RunError
        If the name cannot be a folder's, the run was begun with something else, or another process works on it.
    OSError
        If it cannot be written: what was written stays, and the same call goes on from there.
    """
    folder = new_folder(name, results)
    with alone(folder, name):
        return _record(config, dataset, folder, progress)


@contextlib.contextmanager
def alone(folder: Path, name: str, *, kind: str = "run", option: str = "run") -> Iterator[None]:
    """Keep other processes out of a folder of the run `name`, or of another `kind`; the name was given as `option`.

    Raises
    ------
    RunError
        If another one is in it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = f"another process is working on {kind} {name}"
        raise RunError(f"{who}; wait for it, or choose another name (--{option})") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink()  # nobody waits for it, so nobody can hold on to the removed file
        lock.release()


def _record(config: TrainConfig, dataset: Dataset, folder: Path, progress: bool) -> Run:
    for leftover in folder.rglob(".writing-*"):  # of a process that was killed: nobody else works here now
        leftover.unlink()
    begun = _begin(config, dataset, folder)
    if begun.metrics:
        return begun
    # What `auto` stood for when the run began: another machine might choose otherwise.
    config = config.model_copy(update={"precision": begun.config["cpu"]["precision"]})
    try:
        mark(folder, "training was not finished")
        _train_and_write(config, dataset, folder, progress)
    except KeyboardInterrupt:
        mark(folder, "stopped by Ctrl-C")
        raise
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk: the earlier mark still stands
            mark(folder, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    (folder / _INCOMPLETE).unlink()
    return read(folder, folder.parent)


def check_trained(run: Run, wanted: str) -> None:
    """Refuse a run whose network is not trained and tested; `wanted` is what it therefore has none of.

    Raises
    ------
    RunError
        Says why the run is incomplete.
    """
    if not run.metrics:
        raise RunError(f"run {run.name} is incomplete ({run.incomplete}): it has no {wanted}")


def check_begun_with(run: Run, wanted: dict[str, Any]) -> None:
    """Refuse to go on with a run that was begun with something else.

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
    had = run.config["config"] | {"sha256": run.config["dataset"]["sha256"]}
    differing = [f"{name} {had.get(name)}, now {value}" for name, value in wanted.items() if had.get(name) != value]
    if differing:
        raise RunError(
            f"run {run.name} was begun with {'; '.join(differing)}. Choose another name (--run), or delete {run.path}"
        )


def _begin(config: TrainConfig, dataset: Dataset, folder: Path) -> Run:
    """Open a run's folder, new or begun; refuse one that was begun with something else."""
    from mnist_utils.config import choose_precision

    wanted = config.model_dump() | {"sha256": dataset.sha256}
    if (folder / "config.json").exists():
        check_begun_with(run := read(folder, folder.parent), wanted)
        return run
    mark(folder, "training was not finished")  # before config.json makes the folder a run
    content = {
        "config": config.model_dump(),
        # Not where the files lay: that is a path of one person's machine, and the hash says more.
        "dataset": {"name": dataset.name, "sha256": dataset.sha256, "note": dataset.note},
        "versions": versions(),
        "git_commit": _git_commit(),
        "cpu": {"name": cpu_name(), "cores": os.cpu_count(), "precision": choose_precision(config.precision)},
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    atomic.write_text(folder / "config.json", json.dumps(content, indent=2))
    return read(folder, folder.parent)


def _train_and_write(config: TrainConfig, dataset: Dataset, folder: Path, progress: bool) -> None:
    # TensorFlow and matplotlib: whoever lists or compares runs does without.
    import pandas as pd

    from mnist_utils import evaluation, training

    trained = training.train(config, dataset, folder, progress=progress)
    mark(folder, "evaluation was not finished")
    start = time.perf_counter()
    with interrupts.held():  # in the middle of it, Ctrl-C would come out as some error of TensorFlow's
        atomic.write(folder / "model.keras", trained.model.save)
        atomic.write(folder / "model.tflite", lambda path: trained.model.export(path, format="litert", verbose=False))
    probabilities = training.probabilities(trained.model, dataset.x_validation)
    validation = evaluation.evaluate(probabilities, dataset.y_validation)
    temperature = evaluation.fit_temperature(probabilities, dataset.y_validation)
    probabilities = training.probabilities(trained.model, dataset.x_test)  # the test set is opened here, once
    test = evaluation.evaluate(probabilities, dataset.y_test)
    atomic.write(
        folder / "predictions.npz",
        lambda path: np.savez_compressed(path, probabilities=probabilities, labels=dataset.y_test),
    )
    history = pd.DataFrame(trained.history)
    atomic.write(folder / "history.csv", lambda path: history.to_csv(path, index=False))
    seconds = {"training": round(float(history["seconds"].sum()), 2), "evaluation": round(time.perf_counter() - start, 2)}
    metrics = {"validation": asdict(validation), "test": asdict(test), "temperature": temperature, "seconds": seconds}
    atomic.write_text(folder / "metrics.json", json.dumps(metrics, indent=2))
    for name, figure in draw(read(folder, folder.parent)).items():
        (folder / "figures").mkdir(exist_ok=True)
        atomic.write(folder / "figures" / f"{name}.png", lambda path, figure=figure: figure.savefig(path, dpi=120))  # type: ignore[misc]


def draw(run: Run, *, new_figure: Callable[[], Figure] | None = None) -> dict[str, Figure]:
    """Draw a run's figures from its files.

    Parameters
    ----------
    run : Run
        With ``history.csv`` and ``metrics.json``.
    new_figure : callable, optional
        Makes an empty figure; ``plt.figure`` for a window. Default: one that is only ever saved.

    Returns
    -------
    dict
        From a name, which is the PNG's in ``figures/``, to a figure.
    """
    import pandas as pd
    from matplotlib.figure import Figure

    from mnist_utils import plots

    new_figure = new_figure or Figure
    config, dataset = run.config["config"], run.config["dataset"]["name"]
    metrics = run.metrics or _json(run.path / "metrics.json", "validation", "test")  # a run draws before it is whole
    test, validation = metrics["test"], metrics["validation"]
    low, high = test["accuracy_interval"]
    what = f"{config['model']} on {dataset}, seed {config['seed']}"
    return {
        "training_curves": plots.training_curves(
            pd.read_csv(run.path / "history.csv"),
            title=f"{what}: {validation['accuracy']:.2%} of {validation['n']:,} validation images right",
            figure=new_figure(),
        ),
        "confusion_matrix": plots.confusion_matrices(
            test["confusion_matrix"],
            title=f"{what}: {test['accuracy']:.2%} of {test['n']:,} test images right (95 %: {low:.2%} to {high:.2%})",
            figure=new_figure(),
        ),
    }


def mark(folder: Path, why: str) -> None:
    """Mark a run's folder, or the folder of its notebooks, as not whole."""
    atomic.write_text(folder / _INCOMPLETE, why + "\n")


def versions() -> dict[str, str]:
    """Return the versions of Python and of those packages, of the ones that move the numbers, that are installed."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found | {"python": platform.python_version()}


def _git_commit() -> str | None:
    """Return the commit of the code, with a + where files were changed since; None outside a clone and its image."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "."], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("MNIST_GIT_COMMIT") or None  # the image has no clone, but knows which one it was made from
    return commit + ("+" if changed else "")


def cpu_name() -> str:
    """Name this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


# --- comparing --------------------------------------------------------------------------------------------


def compare(a: Run, b: Run) -> PairedComparison:
    """Compare two runs on their common test images.

    Raises
    ------
    RunError
        If one is incomplete, or they were not tested on the same images.
    """
    from mnist_utils.evaluation import compare_paired

    for run in a, b:
        check_trained(run, "test result to compare")
    if a.config["dataset"]["sha256"] != b.config["dataset"]["sha256"]:
        names = [run.config["dataset"]["name"] for run in (a, b)]
        raise RunError(
            f"{a.name} was tested on {names[0]}, {b.name} on {names[1]}: not the same images, so nothing to compare"
        )
    (probabilities_a, labels), (probabilities_b, _) = predictions(a), predictions(b)
    return compare_paired(probabilities_a.argmax(axis=1) == labels, probabilities_b.argmax(axis=1) == labels)
