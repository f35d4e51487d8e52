"""Models that were made elsewhere, as tutorials make them; their weights are the digits' means, so none is trained."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mnist_utils import ConfigError
from mnist_utils._support import files as _support_files
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.evaluation import attribution, evidence
from mnist_utils.experiments.store import select_runs
from mnist_utils.pipeline.report import write_report
from mnist_utils.runs import importing, inference
from mnist_utils.runs.compare import compare_runs, runs_table
from mnist_utils.runs.evaluate import summarize_run
from mnist_utils.runs.find import list_runs, read_run
from mnist_utils.runs.model_files import ModelError
from mnist_utils.runs.record import record_run
from mnist_utils.runs.run import FIGURES, Run, RunError
from mnist_utils.training.config import make_config
from tests.conftest import TINY
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras
else:
    keras = lazy("keras")

CONFIG = make_config(dataset="digits")
DATA = load_dataset("digits")
_MEANS = np.stack([DATA.x_train[DATA.y_train == label].mean(axis=0).ravel() / 255 for label in range(10)])
KERNEL, BIAS = _MEANS.T, -(_MEANS**2).sum(axis=1) / 2  # the nearest mean has the largest logit


def logits_of(images: NDArray[Any], scale: float = 1 / 255) -> NDArray[np.float64]:
    return np.asarray(images.reshape(len(images), -1) * scale @ KERNEL + BIAS)


def made(shape: tuple[int, ...] = (28, 28), end: str | None = None, *, kernel: Any = KERNEL, first: Any = ()) -> keras.Model:
    flat = [keras.layers.Flatten()] * (len(shape) > 1)
    model = keras.Sequential([keras.Input(shape), *first, *flat, keras.layers.Dense(10, end)])
    model.layers[-1].set_weights([kernel, BIAS])
    return model


def bring(model: keras.Model, folder: Path, name: str = "mine", **given: Any) -> tuple[Run, list[str]]:
    model.save(folder / f"{name}.keras")
    foreign = importing.read_foreign(folder / f"{name}.keras", CONFIG, DATA, **given)
    return importing.record_foreign(foreign, DATA, name, folder / "results"), foreign.notes


@pytest.mark.parametrize(
    ("shape", "end", "first"),
    [
        ((28, 28), None, ()),
        ((28, 28, 1), "softmax", ()),
        ((784,), None, ()),
        ((28, 28, 1), None, "rescaling"),
        ((28, 28), None, "raw"),
    ],
)
def test_a_model_is_scaled_completed_and_calibrated(
    shape: tuple[int, ...], end: str | None, first: Any, tmp_path: Path
) -> None:
    own_scaling = first == "rescaling"
    model = made(
        shape, end,
        kernel=KERNEL / 255 if first == "raw" else KERNEL,
        first=[keras.layers.Rescaling(1 / 255)] if own_scaling else (),
    )  # fmt: skip
    run, notes = bring(model, tmp_path)
    validation, test = logits_of(DATA.x_validation), logits_of(DATA.x_test)
    accuracy = float((validation.argmax(axis=1) == DATA.y_validation).mean())
    assert accuracy > 0.8
    assert (run.trained().validation or run.trained().test).accuracy == accuracy
    assert run.trained().test.accuracy == (test.argmax(axis=1) == DATA.y_test).mean()

    def loss(log_temperature: float) -> float:
        rows = log_softmax(validation / np.exp(log_temperature), axis=1)
        return float(-rows[np.arange(len(rows)), DATA.y_validation].mean())

    best = float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
    assert run.trained().temperature == pytest.approx(best, rel=0.01)
    expected = softmax(test / run.trained().temperature, axis=1)
    np.testing.assert_allclose(run.predictions()[0], expected, atol=1e-4)
    for name in "model.tflite", "model.keras":
        np.testing.assert_allclose(inference.load_model(run.path / name)(DATA.x_test), expected, atol=1e-4)
    divided = not first
    said = "the values are divided by 255" if divided else "the values stay from 0 to 255"
    assert any(note.startswith(f"{said}: {100 * accuracy:.1f} % of the validation images are correct") for note in notes)
    added = [] if end else ["mine.keras: it returns logits, so a softmax follows"]
    assert [note for note in notes if "softmax" in note] == added
    assert any("calibration are too good" in note for note in notes)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return bring(made(), tmp_path_factory.mktemp("imported"))[0]


def test_the_run_holds_all_but_a_history(imported: Run) -> None:
    digest = hashlib.sha256((imported.path.parent.parent / "mine.keras").read_bytes()).hexdigest()
    assert {str(path.relative_to(imported.path)) for path in imported.path.rglob("*") if path.is_file()} == {
        "config.json", "metrics.json", "predictions.npz", "model.keras", "model.tflite", "MODEL_CARD.md",
        "figures/confusion_matrix.png",
    }  # fmt: skip
    assert imported.facts["network"] == {"name": "mine.keras", "sha256": digest}
    config = imported.facts["config"]
    assert (config["model"], config["epochs"], config["dataset"]) == (f"mine.keras@{digest[:8]}", 0, "digits")
    assert config["learning_rate"] is config["seed"] is None  # nobody knows
    assert imported.facts["dataset"]["sha256"] == DATA.sha256
    assert imported.describe() == f"run mine (mine.keras@{digest[:8]}, imported, calibrated on digits)"
    with pytest.raises(RunError, match="run mine was imported, not trained here: it has no history"):
        imported.history()
    assert imported.figures == FIGURES[1:]


def test_all_that_reads_runs_takes_it(imported: Run, tiny_run: Run) -> None:
    assert [run.incomplete for run in list_runs(imported.path.parent)] == [""]
    assert summarize_run(imported).accuracy == imported.trained().test.accuracy
    assert compare_runs(imported, tiny_run).n == len(DATA.x_validation)
    assert compare_runs(imported, tiny_run, "test").n == 360
    assert runs_table([imported])["epochs"].tolist() == [0]
    np.testing.assert_array_equal(imported.dataset().x_test, DATA.x_test)
    report = write_report(imported.path).read_text(encoding="utf-8")
    assert "imported, on" in report
    assert "None" not in report
    (imported.path / "report.html").unlink()
    assert select_runs("", imported.path.parent) == []  # it has no hyper-parameters to compare


@pytest.mark.parametrize("end", [None, "softmax"])
def test_its_predictions_can_be_explained(end: str | None, tmp_path: Path) -> None:
    run, _ = bring(made(end=end), tmp_path)
    model = inference.load_keras_model(run.path / "model.keras")
    assert attribution.penultimate_features(model, DATA.x_test[:3]).shape == (3, 784 if end else 10)
    found = evidence.integrated_gradients(model, DATA.x_test[:2], [3, 4], [5, 6], np.zeros((1, 28, 28), np.uint8))
    margins = logits_of(DATA.x_test[:2]) - BIAS
    expected = margins[[0, 1], [3, 4]] - margins[[0, 1], [5, 6]]
    np.testing.assert_allclose(found.pixels.sum(axis=(1, 2)), expected / run.trained().temperature, atol=0.05)


def test_a_scale_that_is_given_is_taken(tmp_path: Path) -> None:
    run, notes = bring(made(), tmp_path, scale=1.0)
    right = logits_of(DATA.x_validation, 1).argmax(axis=1) == DATA.y_validation
    assert (run.trained().validation or run.trained().test).accuracy == right.mean()
    assert any(note.startswith("the values stay from 0 to 255, as --scale says") for note in notes)


@pytest.mark.parametrize(("largest", "said"), [(1, "are divided by 255"), (255, "stay from 0 to 255")])
def test_a_scale_is_chosen_by_log_loss_where_accuracies_differ_by_chance(largest: int, said: str, tmp_path: Path) -> None:
    """Without biases, the scale changes no prediction, only how sure each is."""
    model = made()
    model.layers[-1].set_weights([(KERNEL - KERNEL.mean(axis=1, keepdims=True)) / largest, np.zeros(10)])
    _, notes = bring(model, tmp_path)
    assert any(note.startswith(f"the values {said}") for note in notes)


def test_a_model_inside_a_model(tmp_path: Path) -> None:
    """TensorFlow's own first tutorial adds the softmax so."""
    run, notes = bring(keras.Sequential([keras.Input((28, 28)), made(), keras.layers.Softmax()]), tmp_path)
    assert [note for note in notes if "softmax" in note] == []
    expected = softmax(logits_of(DATA.x_test) / run.trained().temperature, axis=1)
    np.testing.assert_allclose(run.predict(DATA.x_test), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "scale"), [(None, None), ("1/255", 1 / 255), ("0.00392", 1 / 255), ("0.00392156862745098", 1 / 255), ("1", 1)]
)
def test_scales_as_they_are_written(given: str | None, scale: float | None) -> None:
    assert importing.parse_scale(given) == scale


@pytest.mark.parametrize("given", ["255", "1/128", "", "half", "1/0", "1/2/3x"])
def test_other_scales_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"scale: given .* allowed: 1/255"):
        importing.parse_scale(given)


def test_forced_logits(tmp_path: Path) -> None:
    model = made()
    model.add(keras.layers.Activation("log_softmax"))
    with pytest.raises(ConfigError, match=r"the last activation of mine.keras is log_softmax; allowed: softmax, or none"):
        bring(model, tmp_path)
    run, _ = bring(model, tmp_path, logits=True)
    expected = softmax(logits_of(DATA.x_test) / run.trained().temperature, axis=1)
    np.testing.assert_allclose(run.predictions()[0], expected, atol=1e-4)
    with pytest.raises(ConfigError, match="returns probabilities, no logits, as its rows sum to 1; leave --logits out"):
        bring(made(end="softmax"), tmp_path, "second", logits=True)


def test_a_model_of_something_else_is_taken_with_a_note(tmp_path: Path) -> None:
    _, notes = bring(made(kernel=np.roll(KERNEL, 3, axis=1)), tmp_path)
    assert any("and chance gives 10.0 %: is it a model of digits, for white on black" in note for note in notes)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: made(end="sigmoid"), "the last activation of mine.keras is sigmoid"),
        (lambda: sigmoid_operation(), "returns values from 0 to 1 that do not sum to 1, as a sigmoid does"),
        (
            lambda: other_input((32, 32, 3)),
            r"takes \(None, 32, 32, 3\) and returns \(None, 10\); allowed: ",
        ),
        (lambda: two_inputs(), r"takes \[\(None, 28, 28\), \(None, 28, 28\)\]"),
        (
            lambda: other_input((28, 28), 3),
            r"returns \(None, 3\); allowed: .* \(None, 10\): a value for each",
        ),
        (lambda: made(kernel=np.full((784, 10), np.nan)), "predicts what is not a number"),
    ],
)
def test_other_models_are_refused_in_one_line(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ModelError), match=message) as error:
        bring(model(), tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "results").exists()


def sigmoid_operation() -> keras.Model:
    model = made()
    return keras.Model(model.inputs, keras.ops.sigmoid(model.outputs[0]))


def other_input(shape: tuple[int, ...], classes: int = 10) -> keras.Model:
    return keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)])


def two_inputs() -> keras.Model:
    one, other = keras.Input((28, 28)), keras.Input((28, 28))
    flat = keras.layers.Flatten()
    return keras.Model([one, other], keras.layers.Dense(10)(keras.layers.Add()([flat(one), flat(other)])))


def doubled(x: Any) -> Any:
    return 2 * x


def test_what_needs_code_is_named(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable(package="mine")
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    said = {
        "class": ([Twice()], "the class Twice"),
        "lambda": ([keras.layers.Lambda(lambda x: x)], "a Lambda layer"),
        "function": ([keras.layers.Activation(doubled)], "the function doubled"),
    }
    for name, (first, _) in said.items():
        made(first=first).save(tmp_path / f"{name}.keras")
    code = "import sys\nfrom tests.runs.test_importing import *\nfor path in sys.argv[1:]:\n"
    code += "    try: importing.read_foreign(Path(path), CONFIG, DATA)\n    except ModelError as error: print(error)"
    paths = [str(tmp_path / f"{name}.keras") for name in said]
    # In another process: in this one, the class is registered.
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{path} cannot be loaded with safe_mode, which allows Keras's own layers only: it has {what}. "
        "Train it from its code (mnist train --model file.py), or save it again with Keras's layers in their place"
        for path, (_, what) in zip(paths, said.values(), strict=True)
    ]


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name in "text.keras", "weights.npz":
        (tmp_path / name).write_text("no model")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_text("")
    for name, message in (
        ("nosuch.keras", "there is no model file"),
        ("text.keras", "is not a .keras file"),
        ("weights.npz", "allowed: a .keras file"),
        ("saved", "is a SavedModel"),
        ("old.hdf5", "is in the older form HDF5"),
    ):
        with pytest.raises((ConfigError, ModelError), match=message):
            importing.read_foreign(tmp_path / name, CONFIG, DATA)


def test_hdf5_is_converted_as_the_message_says(tmp_path: Path) -> None:
    made().save(tmp_path / "old.h5")
    with pytest.raises(ConfigError, match="Convert it: ") as error:
        importing.read_foreign(tmp_path / "old.h5", CONFIG, DATA)
    command = str(error.value).partition("python -c ")[2].strip('"')
    subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    converted = keras.saving.load_model(tmp_path / "old.keras")
    np.testing.assert_allclose(converted(DATA.x_test[:5] / 255), logits_of(DATA.x_test[:5]), atol=1e-4)


def test_a_name_is_taken_once(imported: Run) -> None:
    before = (imported.path / "config.json").read_bytes()
    path = imported.path.parent.parent / "mine.keras"
    foreign = importing.read_foreign(path, CONFIG, DATA)
    with pytest.raises(RunError, match=r"run mine exists; choose another name \(--run\), or delete"):
        importing.record_foreign(foreign, DATA, "mine", imported.path.parent)
    assert (imported.path / "config.json").read_bytes() == before
    with pytest.raises(ConfigError, match=r"run: given '../x'"):
        importing.record_foreign(foreign, DATA, "../x", imported.path.parent)


def test_an_imported_run_is_not_trained_on(imported: Run, tiny: Dataset) -> None:
    with pytest.raises(RunError, match=r"run mine is an imported model. Choose another name"):
        record_run(make_config(**TINY), tiny, "mine", imported.path.parent, progress=False)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_stays_of_an_import_that_failed(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _support_files.write_atomic

    def fail(path: Path, save: Any) -> None:
        if path.name == "confusion_matrix.png":
            raise error
        write(path, save)

    monkeypatch.setattr(_support_files, "write_atomic", fail)
    with pytest.raises(type(error)):
        bring(made(), tmp_path)
    assert list((tmp_path / "results").iterdir()) == []
    monkeypatch.undo()
    assert bring(made(), tmp_path)[0].incomplete == ""


def test_a_saved_model_of_fixed_batches_takes_any_number(tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model(np.zeros((1, 28, 28)))
    model.layers[-1].set_weights([KERNEL, BIAS])
    run, _ = bring(model, tmp_path)
    expected = softmax(logits_of(DATA.x_test) / run.trained().temperature, axis=1)
    np.testing.assert_allclose(run.predict(DATA.x_test), expected, atol=1e-4)


def test_the_command_and_the_server(mnist: Any, tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from mnist_utils.serving.app import create_app

    made().save(tmp_path / "mine.keras")
    ours = "--results", str(tmp_path / "results")
    given = "import", str(tmp_path / "mine.keras"), "--dataset", "digits", *ours
    status, out, err = mnist(*given, "--run", "mine")
    assert status == 0
    accuracy = (logits_of(DATA.x_test).argmax(axis=1) == DATA.y_test).mean()
    assert f"test accuracy        {accuracy:.2%} (" in out
    assert "training time" not in out
    assert err.splitlines()[0] == "note: mine.keras: it returns logits, so a softmax follows"
    assert mnist(*given, "--run", "mine")[0] == 1
    found = json.loads(mnist(*given, "--json")[1])
    assert found["run"].endswith("-mine")
    listed = mnist("runs", *ours)[1]
    assert listed.count(" imported ") == 2
    assert "epoch" not in listed
    run = read_run("mine", tmp_path / "results")
    assert f"({run.config.model}, imported, calibrated on digits)" in mnist("evaluate", "mine", *ours)[1]
    assert "confusion_matrix.png" in mnist("show", "mine", *ours)[1]
    for line, more in (
        ("scale: given '2'", ("--scale", "2")),
        ("run: given '../x'", ("--run", "../x")),
        ("dataset: given nosuch", ("--dataset", "nosuch")),
    ):
        status, _, err = mnist(*given, *more)
        assert (status, err.startswith(f"mnist: {line}")) == (2, True)
    with TestClient(create_app(run.path / "model.tflite")) as client:
        facts = client.get("/version").json()
        assert (facts["calibrated"], facts["run"], facts["dataset"]) == (True, "mine", "digits")
    made(end="softmax", shape=(28, 28, 1), first=[keras.layers.Rescaling(1 / 255)]).save(tmp_path / "raw.keras")
    with TestClient(create_app(tmp_path / "raw.keras")) as client:
        assert client.get("/version").json()["calibrated"] is False
    from PIL import Image

    Image.fromarray(DATA.x_test[0]).save(tmp_path / "digit.png")
    caption = mnist("predict", str(tmp_path / "digit.png"), "--model", str(tmp_path / "raw.keras"))[1].splitlines()[-1]
    assert caption == f"model: {tmp_path}/raw.keras, of no run, not calibrated"
    caption = mnist("predict", str(tmp_path / "digit.png"), "--model", "mine", *ours)[1].splitlines()[-1]
    assert caption.endswith("model.tflite, imported, calibrated on digits")
