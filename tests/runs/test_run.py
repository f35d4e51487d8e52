from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image
from sklearn.metrics import accuracy_score

from mnist_utils import ConfigError
from mnist_utils._support import files as _support_files
from mnist_utils.data.datasets import Dataset
from mnist_utils.runs import inference
from mnist_utils.runs import run as runs_run
from mnist_utils.runs.compare import compare_runs, runs_table
from mnist_utils.runs.environment import git_commit
from mnist_utils.runs.record import draw_figures, new_run_name, record_run
from mnist_utils.runs.run import Run, RunError
from mnist_utils.training import fit
from mnist_utils.training.config import TrainConfig, make_config
from mnist_utils.training.fit import prepare_training
from tests.paths import CLONE, MODEL, REFERENCE

GIVEN: dict[str, Any] = {"dataset": "digits", "train_limit": 200, "epochs": 2, "batch_size": 50}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return prepare_training(**GIVEN)[1]


@pytest.fixture(scope="module")
def made(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return record_run(make_config(**GIVEN), digits, "made", tmp_path_factory.mktemp("results"), progress=False)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_holds_all_its_parts(made: Run) -> None:
    assert files(made.path) == {
        "config.json", "history.csv", "metrics.json", "predictions.npz", "model.keras", "model.tflite",
        "figures/training_curves.png", "figures/confusion_matrix.png",
    }  # fmt: skip
    assert files(made.path) == set(runs_run.FILES)
    assert made.incomplete == ""


def test_whole_runs_make_a_table(made: Run) -> None:
    begun = replace(made, incomplete="training was not finished", metrics={})
    (row,) = runs_table([begun, made]).to_dict("records")
    assert [row[column] for column in ("run", "data", "network", "epochs", "seed")] == ["made", "digits", "fast", 2, 0]
    assert row["validation"] == f"{made.metrics['validation']['accuracy']:.2%}"
    assert runs_table([begun]).empty


def test_the_config_is_whole_and_names_data_versions_and_machine(made: Run, digits: Dataset) -> None:
    assert made.config["config"] == make_config(**GIVEN).model_dump()
    assert made.config["dataset"] == {"name": "digits", "sha256": digits.sha256, "note": ""}
    assert made.config["versions"]["keras"] == keras.__version__
    assert made.config["cpu"]["cores"] == os.cpu_count()


def test_metrics_predictions_and_models_agree(made: Run, digits: Dataset) -> None:
    with np.load(made.path / "predictions.npz", allow_pickle=False) as archive:
        probabilities, labels = archive["probabilities"], archive["labels"]
    np.testing.assert_array_equal(labels, digits.y_test)
    assert made.metrics["test"]["accuracy"] == accuracy_score(labels, probabilities.argmax(axis=1))
    assert made.metrics["test"]["n"] == 360
    assert made.metrics["validation"]["n"] == 144
    loaded = keras.saving.load_model(made.path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(digits.x_test[..., None], verbose=0), probabilities, atol=1e-5)
    np.testing.assert_allclose(inference.load_model(made.path / "model.tflite")(digits.x_test), probabilities, atol=1e-5)


def test_history_is_one_row_an_epoch(made: Run) -> None:
    history = pd.read_csv(made.path / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert set(history) == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds"}
    assert made.metrics["validation"]["accuracy"] == pytest.approx(history["val_accuracy"].iloc[-1], abs=0.01)


def test_figures_are_pictures_that_name_data_and_n(made: Run) -> None:
    for path in (made.path / "figures").iterdir():
        with Image.open(path) as image:
            assert image.width > 1000
    titles = {name: figure.get_suptitle() for name, figure in draw_figures(made).items()}
    assert "fast on digits, seed 0" in titles["confusion_matrix"]
    assert "of 360 test images" in titles["confusion_matrix"]
    assert "of 144 validation images" in titles["training_curves"]


def test_the_same_again_changes_nothing(made: Run, digits: Dataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    again = record_run(make_config(**GIVEN), digits, "made", made.path.parent, progress=False)
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in made.path.rglob("*")} == before


def test_another_config_under_the_same_name_is_refused(made: Run, digits: Dataset) -> None:
    with pytest.raises(RunError, match=r"run made was begun with epochs 2, now 3. Choose another name \(--run\), or delete"):
        record_run(make_config(**GIVEN | {"epochs": 3}), digits, "made", made.path.parent, progress=False)


def test_other_data_under_the_same_name_are_refused(made: Run, digits: Dataset) -> None:
    with pytest.raises(RunError, match=r"begun with sha256 \w+, now 123"):
        record_run(make_config(**GIVEN), replace(digits, sha256="123"), "made", made.path.parent, progress=False)


def test_goes_on_in_the_arithmetic_it_began_with(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def train(config: TrainConfig, *_: Any, **__: Any) -> None:
        seen.append(config.precision)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", train)
    for here in "mixed_bfloat16", "float32":
        monkeypatch.setattr("mnist_utils.training.config.choose_precision", lambda _, here=here: here)
        with pytest.raises(KeyboardInterrupt):
            record_run(make_config(**GIVEN), digits, "moved", tmp_path, progress=False)
    assert seen == ["mixed_bfloat16", "mixed_bfloat16"]


def test_what_a_killed_process_left_half_written_is_removed(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "run" / "figures").mkdir(parents=True)
    for name in ".writing-1-checkpoint.npz", "figures/.writing-1-confusion_matrix.png":
        (tmp_path / "run" / name).write_text("half")
    made = record_run(make_config(**GIVEN | {"epochs": 1}), digits, "run", tmp_path, progress=False)
    assert not [name for name in files(made.path) if "writing" in name]


def test_two_runs_of_the_same_second_have_two_names(tmp_path: Path) -> None:
    names = {new_run_name(make_config(), tmp_path) for _ in range(5)}
    assert len(names) == 5


@pytest.mark.parametrize("name", ["", "../out", "a/b", ".hidden", "a b", "x" * 101, "\u6f22"])
def test_names_that_are_no_folder(name: str, digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run: given"):
        record_run(make_config(**GIVEN), digits, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(RunError, match="another process is working on run busy"):
        record_run(make_config(**GIVEN), digits, "busy", tmp_path, progress=False)


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_MARK = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("at", "error", "mark"),
    [
        ("checkpoint.npz", FULL, FULL_MARK),
        ("model.keras", FULL, FULL_MARK),
        ("predictions.npz", KeyboardInterrupt(), "stopped by Ctrl-C"),
        ("metrics.json", FULL, FULL_MARK),
        ("confusion_matrix.png", FULL, FULL_MARK),
    ],
)
def test_a_failure_at_any_file_leaves_a_marked_run_that_can_be_finished(
    at: str, error: BaseException, mark: str, made: Run, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _support_files.write_atomic

    def fail(path: Path, save: Any) -> None:
        if path.name == at:
            raise error
        write(path, save)

    monkeypatch.setattr(_support_files, "write_atomic", fail)
    with pytest.raises(type(error)):
        record_run(make_config(**GIVEN), digits, "broken", tmp_path, progress=False)
    broken = runs_run.read_run("broken", tmp_path)
    assert broken.incomplete == mark
    assert broken.metrics == {}
    assert not [name for name in files(broken.path) if "writing" in name]
    monkeypatch.undo()
    whole = record_run(make_config(**GIVEN), digits, "broken", tmp_path, progress=False)
    assert whole.incomplete == ""
    assert whole.metrics["test"] == made.metrics["test"]
    assert files(whole.path) == files(made.path)


def test_ctrl_c_while_the_network_is_exported_waits_for_its_end(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(_: keras.Model, path: Path, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        path.write_text("exported to the end")

    monkeypatch.setattr(keras.Model, "export", export)
    with pytest.raises(KeyboardInterrupt):
        record_run(make_config(**GIVEN), digits, "run", tmp_path, progress=False)
    assert (tmp_path / "run" / "model.tflite").read_text() == "exported to the end"
    assert runs_run.read_run("run", tmp_path).incomplete == "stopped by Ctrl-C"


def test_the_commit_is_gits_or_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.delenv("MNIST_GIT_COMMIT", raising=False)
    monkeypatch.setattr(subprocess, "run", without_git)
    assert git_commit() is None
    monkeypatch.setenv("MNIST_GIT_COMMIT", "c0ffee+")
    assert git_commit() == "c0ffee+"


# --- listing, finding, comparing ---


def fake(
    folder: Path,
    name: str,
    accuracy: float | None,
    right: np.ndarray | None = None,
    sha256: str = "s",
    dataset: str = "mnist",
) -> None:
    """Write what listing and comparing read; no accuracy: incomplete."""
    path = folder / name
    path.mkdir(parents=True)
    config = {"config": make_config().model_dump(), "dataset": {"name": dataset, "sha256": sha256, "note": ""}}
    (path / "config.json").write_text(json.dumps(config))
    if accuracy is None:
        (path / "incomplete").write_text("training was not finished\n")
    else:
        numbers = {"accuracy": accuracy, "accuracy_interval": [accuracy, accuracy], "n": 100}
        (path / "metrics.json").write_text(
            json.dumps({"validation": numbers, "test": numbers, "seconds": {"training": 1.0}})
        )
    if right is not None:
        np.savez(path / "predictions.npz", probabilities=np.eye(10)[np.where(right, 3, 4)], labels=np.full(len(right), 3))


def test_lists_the_best_first_and_the_incomplete_last(tmp_path: Path) -> None:
    for name, accuracy in ("low", 0.5), ("broken", None), ("high", 0.9), ("damaged", 0.99):
        fake(tmp_path, name, accuracy)
    fake(tmp_path, "other", 0.95, dataset="digits")
    (tmp_path / "damaged" / "metrics.json").write_text('{"test": {}}')
    (tmp_path / "not-a-run").mkdir()
    found = runs_run.list_runs(tmp_path)
    assert [run.name for run in found] == ["high", "low", "other", "broken", "damaged"]
    assert "metrics.json lacks validation" in found[-1].incomplete
    assert runs_run.list_runs(tmp_path / "nosuch") == []


def test_reads_by_name_and_by_path(tmp_path: Path) -> None:
    fake(tmp_path, "one", 0.9)
    assert runs_run.read_run("one", tmp_path) == runs_run.read_run(str(tmp_path / "one"), tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"no run 'two' in .*; there are: one"):
        runs_run.read_run("two", tmp_path)
    with pytest.raises(RunError, match="there are: none yet"):
        runs_run.read_run("two", tmp_path / "nosuch")


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    fake(tmp_path, "one", 0.9)
    (tmp_path / "one" / "metrics.json").write_text('{"test": ')
    with pytest.raises(RunError, match=r"run one is damaged: .*metrics.json"):
        runs_run.read_run("one", tmp_path)


def test_the_default_network_is_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "broken", None)
    fake(tmp_path, "low", 0.5)
    assert runs_run.find_model(None, tmp_path) == MODEL
    monkeypatch.setattr(runs_run, "_clone", lambda: tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"there is no reference run in .* name another with --model"):
        runs_run.find_model(None, tmp_path)
    fake(tmp_path, "reference", 0.7)
    assert runs_run.find_model(None, tmp_path) == tmp_path / "reference" / "model.tflite"
    assert runs_run.find_model("low", tmp_path) == tmp_path / "low" / "model.tflite"
    assert runs_run.find_model("x/y.tflite", tmp_path) == Path("x/y.tflite")
    with pytest.raises(RunError, match="run broken is incomplete"):
        runs_run.find_model("broken", tmp_path)


def begun(folder: Path, name: str, started: str) -> None:
    content = json.loads((folder / name / "config.json").read_text()) | {"started": started}
    (folder / name / "config.json").write_text(json.dumps(content))


def test_the_run_to_look_at_is_the_newest_whole_one_else_the_reference(tmp_path: Path) -> None:
    committed = REFERENCE
    assert runs_run.select_run("", tmp_path).path == committed
    fake(tmp_path, "reference", 0.7)
    assert (
        runs_run.select_run("", tmp_path).path == runs_run.select_run("reference", tmp_path).path == tmp_path / "reference"
    )
    for name, accuracy, started in (
        ("old", 0.9, "2026-01-02T11:00:00+00:00"),
        ("new", 0.5, "2026-01-02T10:00:00-02:00"),  # at 12:00
        ("broken", None, "2026-01-03T00:00:00+00:00"),
    ):
        fake(tmp_path, name, accuracy)
        begun(tmp_path, name, started)
    begun(tmp_path, "reference", "2027-01-01T00:00:00+00:00")
    assert runs_run.select_run("", tmp_path).name == "new"
    assert runs_run.select_run("old", tmp_path).name == "old"
    assert runs_run.select_run(str(tmp_path / "old"), tmp_path / "elsewhere").name == "old"
    with pytest.raises(RunError, match="broken is incomplete"):
        runs_run.select_run("broken", tmp_path)
    with pytest.raises(RunError, match="no run 'nosuch'"):
        runs_run.select_run("nosuch", tmp_path)
    assert runs_run.describe_run(runs_run.select_run("old", tmp_path)) == "run old (fast, trained on mnist, seed 0)"


def test_a_run_brings_its_data_set_and_predictions(made: Run, digits: Dataset, tmp_path: Path) -> None:
    found = runs_run.load_run_dataset(made)
    np.testing.assert_array_equal(found.x_train, digits.x_train)
    np.testing.assert_array_equal(found.y_validation, digits.y_validation)
    probabilities, labels = runs_run.read_predictions(made)
    np.testing.assert_array_equal(labels, digits.y_test)
    network = inference.load_model(made.path / "model.tflite")
    np.testing.assert_allclose(inference.predict_batches(network, digits.x_test, batch=100), probabilities, atol=1e-5)
    fake(tmp_path, "other", 0.9, dataset="digits", sha256="0123456789abcdef")
    with pytest.raises(RunError, match=r"with a digits of SHA-256 0123456789ab\.\.\., scikit-learn has [0-9a-f]{12}"):
        runs_run.load_run_dataset(runs_run.read_run("other", tmp_path))


def test_results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runs_run.results_dir(tmp_path) == tmp_path
    monkeypatch.setenv("MNIST_RESULTS", "elsewhere")
    assert runs_run.results_dir() == Path("elsewhere")
    monkeypatch.delenv("MNIST_RESULTS")
    assert runs_run.results_dir() == CLONE / "results"


def test_compares_on_the_same_images(tmp_path: Path) -> None:
    a = np.array([True] * 80 + [False] * 20)
    b = np.array([True] * 78 + [False] * 2 + [True] * 10 + [False] * 10)
    fake(tmp_path, "a", 0.8, a)
    fake(tmp_path, "b", 0.88, b)
    found = compare_runs(runs_run.read_run("a", tmp_path), runs_run.read_run("b", tmp_path))
    assert (found.n, found.only_a, found.only_b) == (100, 2, 10)
    fake(tmp_path, "other", 0.8, a, sha256="t")
    with pytest.raises(RunError, match="not the same images"):
        compare_runs(runs_run.read_run("a", tmp_path), runs_run.read_run("other", tmp_path))
    fake(tmp_path, "lost", 0.8)
    with pytest.raises(RunError, match=r"run lost is damaged: .*predictions.npz"):
        compare_runs(runs_run.read_run("a", tmp_path), runs_run.read_run("lost", tmp_path))
    fake(tmp_path, "broken", None)
    with pytest.raises(RunError, match="broken is incomplete"):
        compare_runs(runs_run.read_run("a", tmp_path), runs_run.read_run("broken", tmp_path))
