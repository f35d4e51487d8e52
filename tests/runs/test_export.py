"""Models written for other servers: each predicts here again, by its own runtime, images that `export` never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_utils import ConfigError
from mnist_utils.cli import main
from mnist_utils.runs import export
from mnist_utils.runs.export import ExportError
from mnist_utils.runs.find import read_run
from mnist_utils.runs.run import Run
from tests.paths import REFERENCE

IMAGES = np.random.default_rng(7).uniform(0, 255, (5, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> Run:
    return read_run(REFERENCE, REFERENCE.parent)


@pytest.fixture(scope="module")
def keras_answers() -> NDArray[np.float32]:
    import keras

    model = keras.saving.load_model(REFERENCE / "model.keras", safe_mode=True)
    return np.asarray(model(IMAGES[..., None], training=False))


def saved_model(folder: Path) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    return loaded.serve(IMAGES[..., None])


def onnx(folder: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"image": IMAGES[..., None]})[0]


def litert(folder: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    ask = interpreter.get_signature_runner()
    return ask(image=IMAGES[..., None])["output_0"]


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras's, while it imports tf2onnx
@pytest.mark.parametrize(("kind", "ask"), [("saved_model", saved_model), ("onnx", onnx), ("litert", litert)])
def test_an_exported_model_predicts_as_keras(
    kind: export.Format,
    ask: Callable[[Path], Any],
    reference: Run,
    keras_answers: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    folder, difference = export.export_model(reference, kind, tmp_path)
    assert folder == tmp_path / "mnist" / "1"
    assert difference <= 1e-5
    np.testing.assert_allclose(np.asarray(ask(folder)), keras_answers, atol=1e-5)


def test_the_command_takes_the_next_version_and_leaves_nothing_beside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits" / "7").mkdir(parents=True)
    command = ["mnist", "export", str(REFERENCE), "--format", "litert", "--output", str(tmp_path), "--name", "digits"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 0
    out, err = capfd.readouterr()
    assert f"{tmp_path / 'digits' / '8'}: predicts as Keras does" in out
    assert err == ""
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["7", "8"]
    assert [path.name for path in (tmp_path / "digits" / "8").iterdir()] == ["model.tflite"]


def test_a_model_that_predicts_otherwise_is_not_kept(
    reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = export.load_exported

    def shifted(kind: export.Format, folder: Path) -> Any:
        predict = load(kind, folder)
        return lambda images: predict(images) + np.float32(1e-4)

    monkeypatch.setattr(export, "load_exported", shifted)
    with pytest.raises(ExportError, match=r"the litert model's probabilities differ from Keras's by 1\.\de-04"):
        export.export_model(reference, "litert", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "pb"}, r"format: given 'pb'; allowed: saved_model, onnx, litert"),
        ({"name": "../up"}, r"name: given '\.\./up'"),
        ({"version": 3}, r"version: given 3; .* taken: 2, 3"),
        ({"version": 0}, r"version: given 0"),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_is_written(
    given: dict[str, Any], message: str, reference: Run, tmp_path: Path
) -> None:
    for version in "2", "3":
        (tmp_path / "mnist" / version).mkdir(parents=True)
    arguments: dict[str, Any] = {"kind": "litert", "output": tmp_path} | given
    with pytest.raises(ConfigError, match=message):
        export.export_model(reference, **arguments)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "mnist", tmp_path / "mnist" / "2", tmp_path / "mnist" / "3"]


def test_a_run_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"run half has no model yet"):
        export.export_model(Run(tmp_path / "half", {}, None, "training was not finished"), "onnx", tmp_path)
