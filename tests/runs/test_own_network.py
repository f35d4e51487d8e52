"""A network and an augmentation of one's own: trained, recorded, resumed, continued, and used without running their text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import Dataset
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import new_run_name
from mnist_utils.runs.inference import load_keras_model
from mnist_utils.runs.record import record_run
from mnist_utils.runs.run import Run, RunError
from mnist_utils.training.config import make_config
from tests.conftest import TINY, Cli
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import fit
else:
    keras = lazy("keras")
    fit = lazy("mnist_utils.training.fit")

# Whoever runs it more often than it is trained appends a line too many to the file `ran` beside it.
FILE = """import pathlib
import keras
import numpy as np
from keras import layers

with pathlib.Path(__file__).with_name("ran").open("a") as ran:
    ran.write("x")
recipe = {"epochs": 2, "learning_rate": 0.01}


def network(classes):
    return keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(classes)])


def wider(classes):
    return keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(classes)])


def darker(images, random):
    return images - images // random.integers(2, 4, dtype=np.uint8)
"""
SHORT = {name: value for name, value in TINY.items() if name in ("dataset", "train_limit")}


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def results(mine: Path) -> Path:
    return mine.parent / "results"


@pytest.fixture(scope="module")
def run(mine: Path, results: Path, tiny: Dataset) -> Run:
    config = make_config(model=str(mine), augment=f"{mine}:darker", **SHORT)
    return record_run(config, tiny, "mine", results, progress=False)


def ran(mine: Path) -> str:
    return mine.with_name("ran").read_text()


def test_the_run_keeps_the_texts_and_their_hashes(run: Run) -> None:
    digest = hashlib.sha256(FILE.encode()).hexdigest()
    facts = json.loads((run.path / "config.json").read_text())
    assert facts["network"] == {"name": "mine.py", "sha256": digest}
    found = facts["config"]["model"], facts["config"]["augment"]
    assert found == (f"mine.py@{digest[:8]}", f"mine.py:darker@{digest[:8]}")
    assert [(run.path / name).read_text() for name in ("network.py", "augment.py")] == [FILE, FILE]
    assert (facts["config"]["epochs"], facts["config"]["learning_rate"], facts["config"]["batch_size"]) == (
        20,
        0.01,
        32,
    )  # of digits, ten times as many epochs


def test_its_model_keeps_the_contract(run: Run) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    model = load_keras_model(run.path / "model.keras")
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 10))
    expected = np.asarray(model(images[..., None].astype(np.float32)))
    np.testing.assert_allclose(run.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-5)


def test_using_it_runs_nothing_of_the_file(run: Run, mine: Path, mnist: Cli, tmp_path: Path) -> None:
    before, results = ran(mine), str(run.path.parent)
    (tmp_path / "test.csv").write_text("\n".join(",".join(map(str, row)) for row in np.eye(3, 784, 300, dtype=int) * 255))
    for command in (
        ("predict", str(tmp_path / "test.csv"), "--submission", str(tmp_path / "out.csv"), "--model", "mine"),
        ("evaluate", "mine"),
        ("compare", "mine", "mine"),
        ("runs",),
        ("export", "mine", "--format", "litert", "--output", str(tmp_path)),
    ):
        assert mnist(*command, "--results", results)[0] == 0, command
    assert ran(mine) == before


def test_the_same_again_is_the_same_run_and_another_text_is_refused(run: Run, mine: Path, tiny: Dataset) -> None:
    again = make_config(model=str(mine), augment=f"{mine}:darker", **SHORT)
    assert record_run(again, tiny, "mine", run.path.parent, progress=False).started == run.started
    changed = mine.with_name("changed") / "mine.py"
    changed.parent.mkdir()
    changed.write_text(FILE.replace("Dense(16", "Dense(17"))
    other = make_config(model=str(changed), augment=f"{mine}:darker", **SHORT)
    with pytest.raises(RunError, match=r"run mine was started with model mine.py@\w{8}, now mine.py@\w{8}.*--from mine"):
        record_run(other, tiny, "mine", run.path.parent, progress=False)


def test_a_breach_of_the_contract_leaves_no_folder(mine: Path, results: Path, tiny: Dataset) -> None:
    mine.with_name("bad.py").write_text("def network():\n    return 3\n")
    with pytest.raises(ConfigError, match=r"bad.py returned int"):
        record_run(make_config(model=f"{mine.parent}/bad.py", **SHORT), tiny, "bad", results, progress=False)
    assert not (results / "bad" / "config.json").exists()


def test_a_training_goes_on_from_a_run(run: Run, mine: Path, tiny: Dataset) -> None:
    given: dict[str, Any] = {"model": str(mine), "from_run": "mine", "epochs": 1, **SHORT}
    further = record_run(make_config(**given, learning_rate=1e-6), tiny, "further", run.path.parent, progress=False)
    facts = json.loads((further.path / "config.json").read_text())
    digest = hashlib.sha256((run.path / "model.keras").read_bytes()).hexdigest()
    assert facts["from"] == {"run": "mine", "sha256": digest}
    # With such a small step, it is still the model it started from.
    assert further.trained().validated().accuracy == run.trained().validated().accuracy
    np.testing.assert_allclose(further.history()["val_loss"].iloc[0], run.history()["val_loss"].iloc[-1], rtol=0.01)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"from_run": "nosuch"}, RunError, "no run 'nosuch'"),
        ({"model": "fast", "from_run": "mine"}, ConfigError, "from: mine has 2 layers with weights, fast 7"),
        (
            {"from_run": "mine", "validation_fraction": 0.2},
            RunError,
            "it would be validated on images that it was trained on",
        ),
        ({"freeze": "nosuch"}, ConfigError, "freeze: given 'nosuch', which no layer is called"),
    ],
)
def test_what_a_training_cannot_start_from(
    given: dict[str, Any], error: type[Exception], message: str, run: Run, mine: Path, tiny: Dataset
) -> None:
    with pytest.raises(error, match=message):
        record_run(make_config(**{"model": str(mine), **SHORT} | given), tiny, "never", run.path.parent, progress=False)
    assert not (run.path.parent / "never" / "config.json").exists()


def test_a_function_of_a_notebook_is_recorded(results: Path, tiny: Dataset) -> None:
    def small(classes: int) -> keras.Model:
        return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)])

    config = make_config(model=small, epochs=1, **SHORT)
    name = new_run_name(config, results)
    assert name.endswith("-small")
    found = record_run(config, tiny, name, results, progress=False)
    assert (found.path / "network.py").read_text().startswith("def small(classes: int)")
    assert read_run(name, results).config.model == config.model == f"small@{config.network.source.sha256[:8]}"


def test_callbacks_see_one_training_and_may_stop_it(tiny: Dataset, tmp_path: Path) -> None:
    seen: list[Any] = []

    def end(epoch: int, logs: Any) -> None:
        seen.append(logs)
        watch.model.stop_training = epoch == 1

    watch: Any = keras.callbacks.LambdaCallback(
        on_train_begin=lambda _: seen.append("begin"),
        on_epoch_begin=lambda epoch, _: seen.append(epoch),
        on_train_batch_end=lambda _, logs: seen.append(sorted(logs)),
        on_epoch_end=end,
        on_train_end=lambda _: seen.append("end"),
    )
    config = make_config(**{**TINY, "epochs": 5, "batch_size": 200})
    trained = fit.train(config, tiny, tmp_path, callbacks=[watch], progress=False)
    assert len(trained.history) == 2
    rows = [{name: row[name] for name in row if name not in ("epoch", "seconds")} for row in trained.history]
    assert [one for one in seen if not isinstance(one, list)] == ["begin", 0, rows[0], 1, rows[1], "end"]
    assert ["accuracy", "loss"] in seen


def test_what_litert_cannot_run_is_refused_before_training(results: Path, tiny: Dataset) -> None:
    def recurrent(classes: int) -> keras.Model:
        layers = keras.layers
        return keras.Sequential([keras.Input((28, 28)), layers.Rescaling(1 / 255), layers.LSTM(4), layers.Dense(classes)])

    with pytest.raises(ConfigError, match=r"LiteRT, which predicts with every run, cannot run recurrent: .*unroll=True"):
        record_run(make_config(model=recurrent, **SHORT), tiny, "recurrent", results, progress=False)
    assert not (results / "recurrent" / "config.json").exists()
