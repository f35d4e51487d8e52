from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image
from sklearn.metrics import accuracy_score

from mnist_utils import ConfigError
from mnist_utils._support import files as _support_files
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.runs import find, inference
from mnist_utils.runs.compare import runs_table
from mnist_utils.runs.environment import git_commit
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import new_run_name
from mnist_utils.runs.record import check_same_config, record_run
from mnist_utils.runs.run import AUGMENT, FIGURES, FILES, NETWORK, Run, RunError
from mnist_utils.training.config import TrainConfig, make_config
from tests.conftest import TINY
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import fit
else:
    keras = lazy("keras")
    fit = lazy("mnist_utils.training.fit")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_run_holds_all_its_parts(tiny_run: Run) -> None:
    assert files(tiny_run.path) == {
        "config.json", "history.csv", "curve.csv", "metrics.json", "predictions.npz", "model.keras", "model.tflite",
        "MODEL_CARD.md", "figures/training_curves.png", "figures/confusion_matrix.png",
    }  # fmt: skip
    assert files(tiny_run.path) == set(FILES) - {NETWORK, AUGMENT}  # of your own networks only
    assert tiny_run.incomplete == ""


def test_whole_runs_make_a_table(tiny_run: Run) -> None:
    begun = replace(tiny_run, incomplete="training was not finished", metrics=None)
    (row,) = runs_table([begun, tiny_run]).to_dict("records")
    assert [row[column] for column in ("run", "data", "model", "epochs", "seed")] == ["tiny", "digits", "fast", 2, 0]
    assert row["validation"] == f"{tiny_run.trained().validated().accuracy:.2%}"
    assert runs_table([begun]).empty


def test_the_config_is_whole_and_names_data_versions_and_machine(tiny_run: Run, tiny: Dataset) -> None:
    assert tiny_run.facts["config"] == make_config(**TINY).model_dump()
    assert tiny_run.facts["dataset"] == {
        "name": "digits", "sha256": tiny.sha256, "note": "", "classes": list("0123456789"),
        "images": {"training": 200, "validation": 144, "test": 360},
    }  # fmt: skip
    assert tiny_run.facts["versions"]["keras"] == keras.__version__
    assert tiny_run.facts["cpu"]["cores"] == os.cpu_count()


def test_metrics_predictions_and_models_agree(tiny_run: Run, tiny: Dataset) -> None:
    with np.load(tiny_run.path / "predictions.npz", allow_pickle=False) as archive:
        probabilities, labels = archive["probabilities"], archive["labels"]
    np.testing.assert_array_equal(labels, tiny.y_test)
    assert tiny_run.trained().test.accuracy == accuracy_score(labels, probabilities.argmax(axis=1))
    assert tiny_run.trained().test.n == 360
    assert tiny_run.trained().validated().n == 144
    loaded = keras.saving.load_model(tiny_run.path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(tiny.x_test[..., None], verbose=0), probabilities, atol=1e-5)
    np.testing.assert_allclose(inference.load_model(tiny_run.path / "model.tflite")(tiny.x_test), probabilities, atol=1e-5)


def test_history_is_one_row_an_epoch(tiny_run: Run) -> None:
    history = pd.read_csv(tiny_run.path / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert tuple(history) == fit.HISTORY
    assert pd.read_csv(tiny_run.path / "curve.csv")["epoch"].between(0, 2).all()
    assert tiny_run.trained().validated().accuracy == pytest.approx(history["val_accuracy"].iloc[-1], abs=0.01)


def test_figures_are_pictures_that_name_data_and_n(tiny_run: Run) -> None:
    for path in (tiny_run.path / "figures").iterdir():
        with Image.open(path) as image:
            assert image.width > 1000
    titles = {name: tiny_run.figure(name).get_suptitle() for name in FIGURES}
    assert "fast on digits, seed 0" in titles["confusion_matrix"]
    assert "of 360 test images" in titles["confusion_matrix"]
    assert "of 144 validation images" in titles["training_curves"]


def test_the_same_again_changes_nothing(tiny_run: Run, tiny: Dataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.path.rglob("*")}
    again = record_run(make_config(**TINY), tiny, "tiny", tiny_run.path.parent, progress=False)
    assert again == tiny_run
    assert {path: path.stat().st_mtime_ns for path in tiny_run.path.rglob("*")} == before


def test_another_config_under_the_same_name_is_refused(tiny_run: Run, tiny: Dataset) -> None:
    with pytest.raises(
        RunError, match=r"run tiny was started with epochs 2, now 3. Choose another name \(--run\), or delete"
    ):
        record_run(make_config(**TINY | {"epochs": 3}), tiny, "tiny", tiny_run.path.parent, progress=False)


def test_a_run_of_a_version_without_a_field_is_one_with_its_default(tiny_run: Run, tiny: Dataset, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "old")
    facts = json.loads((tmp_path / "old" / "config.json").read_text())
    assert (facts["config"].pop("raw"), facts["config"].pop("skip_unreadable")) == (False, False)
    (tmp_path / "old" / "config.json").write_text(json.dumps(facts))
    assert record_run(make_config(**TINY), tiny, "old", tmp_path, progress=False).config.raw is False
    with pytest.raises(RunError, match=r"run old was started with raw False, now True\. Choose"):
        check_same_config(read_run("old", tmp_path), make_config(**TINY, raw=True).model_dump())


def test_other_data_under_the_same_name_are_refused(tiny_run: Run, tiny: Dataset) -> None:
    with pytest.raises(RunError, match=r"started with sha256 \w+, now 123"):
        record_run(make_config(**TINY), replace(tiny, sha256="123"), "tiny", tiny_run.path.parent, progress=False)


def test_goes_on_in_the_arithmetic_it_began_with(tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def train(config: TrainConfig, *_: Any, **__: Any) -> None:
        seen.append(config.precision)
        raise KeyboardInterrupt

    monkeypatch.setattr("mnist_utils.training.fit.train", train)
    for here in "mixed_bfloat16", "float32":
        monkeypatch.setattr("mnist_utils.training.precision.choose_precision", lambda _, here=here: here)
        with pytest.raises(KeyboardInterrupt):
            record_run(make_config(**TINY), tiny, "moved", tmp_path, progress=False)
    assert seen == ["mixed_bfloat16", "mixed_bfloat16"]


def test_what_a_killed_process_left_half_written_is_removed(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "run" / "figures").mkdir(parents=True)
    for name in ".writing-1-checkpoint.npz", "figures/.writing-1-confusion_matrix.png":
        (tmp_path / "run" / name).write_text("half")
    made = record_run(make_config(**TINY | {"epochs": 1}), tiny, "run", tmp_path, progress=False)
    assert not [name for name in files(made.path) if "writing" in name]


def test_two_runs_of_the_same_second_have_two_names(tmp_path: Path) -> None:
    names = {new_run_name(make_config(), tmp_path) for _ in range(5)}
    assert len(names) == 5


@pytest.mark.parametrize("name", ["", "../out", "a/b", ".hidden", "a b", "x" * 101, "\u6f22"])
def test_names_that_are_no_folder(name: str, tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run: given"):
        record_run(make_config(**TINY), tiny, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(RunError, match="another process is using run busy"):
        record_run(make_config(**TINY), tiny, "busy", tmp_path, progress=False)


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_MARK = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("at", "error", "mark"),
    [
        ("checkpoint.npz", FULL, FULL_MARK),
        ("predictions.npz", KeyboardInterrupt(), "stopped by Ctrl-C"),
        ("confusion_matrix.png", FULL, FULL_MARK),
    ],
)
def test_a_failure_at_any_file_leaves_a_marked_run_that_can_be_finished(
    at: str, error: BaseException, mark: str, tiny_run: Run, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _support_files.write_atomic

    def fail(path: Path, save: Any) -> None:
        if path.name == at:
            raise error
        write(path, save)

    monkeypatch.setattr(_support_files, "write_atomic", fail)
    with pytest.raises(type(error)):
        record_run(make_config(**TINY), tiny, "broken", tmp_path, progress=False)
    broken = find.read_run("broken", tmp_path)
    assert broken.incomplete == mark
    assert broken.metrics is None
    assert not [name for name in files(broken.path) if "writing" in name]
    monkeypatch.undo()
    whole = record_run(make_config(**TINY), tiny, "broken", tmp_path, progress=False)
    assert whole.incomplete == ""
    assert whole.trained().test == tiny_run.trained().test
    assert files(whole.path) == files(tiny_run.path)


def test_ctrl_c_while_the_network_is_exported_waits_for_its_end(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(_: keras.Model, path: Path, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        path.write_text("exported to the end")

    monkeypatch.setattr(keras.Model, "export", export)
    with pytest.raises(KeyboardInterrupt):
        record_run(make_config(**TINY), tiny, "run", tmp_path, progress=False)
    assert (tmp_path / "run" / "model.tflite").read_text() == "exported to the end"
    assert find.read_run("run", tmp_path).incomplete == "stopped by Ctrl-C"


def test_the_commit_is_gits_or_that_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.delenv("MNIST_GIT_COMMIT", raising=False)
    monkeypatch.setattr(subprocess, "run", without_git)
    assert git_commit() is None
    monkeypatch.setenv("MNIST_GIT_COMMIT", "c0ffee+")
    assert git_commit() == "c0ffee+"


def test_a_training_on_all_images_has_no_validation(tmp_path: Path) -> None:
    given = {"validation_fraction": 0, "train_limit": None, "epochs": 1}
    config = make_config(**TINY | given)
    dataset = load_dataset("digits", validation_fraction=0)
    assert (len(dataset.x_train), len(dataset.x_validation)) == (1437, 0)
    run = record_run(config, dataset, "all", tmp_path, progress=False)
    assert (run.trained().validation, run.trained().temperature) == (None, 1.0)
    assert list(run.history().columns) == ["epoch", "accuracy", "loss", "seconds"]
    assert runs_table([run])["validation"].tolist() == ["none"]
    assert find.list_runs(tmp_path)[0].name == "all"
    assert run.predictions("validation")[0].shape == (0, 10)
    with pytest.raises(RunError, match=r"trained on all images \(validation_fraction 0\) has nothing to be chosen by"):
        run.trained().validated()


def test_the_temperature_is_of_the_validation_images_alone(tiny_run: Run, tiny: Dataset, tmp_path: Path) -> None:
    """Other labels of the test images change what is measured on them, and nothing else."""
    other = replace(tiny, y_test=(tiny.y_test + 1) % 10)
    again = record_run(make_config(**TINY), other, "again", tmp_path, progress=False)
    assert again.trained().temperature == tiny_run.trained().temperature != 1
    assert again.trained().temperature_interval == tiny_run.trained().temperature_interval
    assert again.trained().test.accuracy < 0.5 < tiny_run.trained().test.accuracy
