"""Curves for TensorBoard: the event files are read back with TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mnist_utils.cli import train as command
from mnist_utils.data.datasets import Dataset
from mnist_utils.runs.find import read_run
from mnist_utils.runs.record import record_run
from mnist_utils.runs.run import Run, RunError
from mnist_utils.training.config import make_config
from tests.conftest import TINY, Cli
from tests.fake_runs import fake_run
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mnist_utils.runs import tensorboard
else:
    keras, tf, tensorboard = lazy("keras"), lazy("tensorflow"), lazy("mnist_utils.runs.tensorboard")

CURVES = ["accuracy", "loss", "val_accuracy", "val_loss"]
DIGITS = "--dataset", "digits", "--train-limit", "200", "--epochs", "2", "--batch-size", "50"


def events(folder: Path) -> list[Any]:
    files = [str(path) for path in sorted(folder.iterdir())]
    return [tf.compat.v1.Event.FromString(record) for record in tf.data.TFRecordDataset(files).as_numpy_iterator()]


def read(folder: Path) -> dict[tuple[str, str], dict[int, Any]]:
    """From each plugin and tag to its data at each step; as TensorBoard does, a start drops what lay after its step."""
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for event in events(folder):
        if event.session_log.status == tf.compat.v1.SessionLog.START:
            found = {tag: {step: x for step, x in data.items() if step < event.step} for tag, data in found.items()}
        for value in event.summary.value:
            steps = found.setdefault((value.metadata.plugin_data.plugin_name, value.tag), {})
            assert event.step not in steps
            steps[event.step] = tf.make_ndarray(value.tensor).tolist()
    return found


def assert_curves(folder: Path, run: Run) -> None:
    found, history = read(folder), pd.read_csv(run.path / "history.csv")
    for name in CURVES:
        curve = found["scalars", name]
        assert list(curve) == list(history["epoch"])
        np.testing.assert_array_equal(list(curve.values()), history[name].to_numpy(np.float32))


def test_a_resumed_training_continues_its_curves(tiny: Dataset, tmp_path: Path) -> None:
    config, logs = make_config(**TINY | {"epochs": 3}), tmp_path / "logs"

    def stop(epoch: int, _logs: Any) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    curves = tensorboard.tensorboard_callback(logs, "one", config)
    callbacks = [curves, keras.callbacks.LambdaCallback(on_epoch_end=stop)]
    with pytest.raises(KeyboardInterrupt):
        record_run(config, tiny, "one", tmp_path, callbacks=callbacks, progress=False)
    assert list(read(logs / "one")["scalars", "loss"]) == [1, 2]
    curves = tensorboard.tensorboard_callback(logs, "one", config)
    run = record_run(config, tiny, "one", tmp_path, callbacks=[curves], progress=False)
    assert_curves(logs / "one", run)
    rates = read(logs / "one")["scalars", "learning_rate"]
    assert list(rates) == [1, 2, 3]
    assert all(0 <= rate <= config.learning_rate for rate in rates.values())
    (text,) = read(logs / "one")["text", "hyper-parameters"].values()
    assert "| epochs | 3 |" in text.decode()


def test_a_callback_that_raises_leaves_a_run_that_can_be_resumed(tiny: Dataset, tmp_path: Path) -> None:
    def stop(_epoch: int, _logs: Any) -> None:
        raise ValueError("pruned")

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=stop)]
    with pytest.raises(ValueError, match="pruned"):
        record_run(make_config(**TINY), tiny, "one", tmp_path, callbacks=callbacks, progress=False)
    found = read_run("one", tmp_path)
    assert (found.incomplete, found.epochs_done) == ("ValueError: pruned", 1)
    assert record_run(make_config(**TINY), tiny, "one", tmp_path, progress=False).incomplete == ""


def test_the_command_writes_curves_and_the_confusion_matrix(
    mnist: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, given = tmp_path / "logs", ["train", *DIGITS, "--results", str(tmp_path), "--run", "one", "--tensorboard"]
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    status, _, err = mnist(*given, str(logs))
    assert status == 0
    assert f"to see the curves: tensorboard --logdir {logs}  (needs: pip install tensorboard)\n" in err
    run = read_run("one", tmp_path)
    assert_curves(logs / "one", run)
    picture = read(logs / "one")["images", "confusion_matrix"][2]
    png = (run.path / "figures" / "confusion_matrix.png").read_bytes()
    assert picture == [*(str(side).encode() for side in Image.open(io.BytesIO(png)).size), png]

    monkeypatch.setattr(command, "find_spec", lambda _: True)  # a complete run, whose curves are somewhere else
    status, _, err = mnist(*given, str(tmp_path / "others"))
    assert f"to see the curves: tensorboard --logdir {tmp_path / 'others'}\n" in err
    before = read(logs / "one")
    del before["scalars", "learning_rate"]  # history.csv does not have it
    assert read(tmp_path / "others" / "one") == before
    assert mnist(*given, str(logs))[0] == 0  # twice in the same place
    assert read(logs / "one").keys() >= before.keys()
    assert_curves(logs / "one", run)


def test_a_folder_that_cannot_be_is_refused_before_the_training(mnist: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, out, err = mnist(
        "train", *DIGITS, "--results", str(tmp_path), "--run", "one", "--quiet", "--tensorboard", str(tmp_path / "file")
    )
    assert (status, out) == (1, "")
    assert err == f"mnist: cannot read or write {tmp_path / 'file' / 'one'}: Not a directory. Check the path.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_named(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda _: writer("/dev/full"))
    with pytest.raises(RunError, match=r"cannot write .*events\.out\.tfevents.*No space left on device.*Free some space"):
        tensorboard.write_result(tiny_run, tmp_path)


def test_an_incomplete_run_has_no_confusion_matrix(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run half is incomplete"):
        tensorboard.write_result(fake_run("half", 0.9, why="stopped by Ctrl-C"), tmp_path)
    assert list(tmp_path.iterdir()) == []
