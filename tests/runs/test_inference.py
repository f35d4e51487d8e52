from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from mnist_utils.data import synthetic
from mnist_utils.data.datasets import load_dataset
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.runs import inference
from mnist_utils.runs.model_files import ModelError
from tests.lazy import lazy
from tests.paths import REFERENCE

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import build
else:
    keras = lazy("keras")
    build = lazy("mnist_utils.training.build")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    model = build.build_model("fast")
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    model.export(path, format="litert", verbose=False)
    return model, path


def test_answers_as_keras_does_in_batches_of_any_size(model: tuple[keras.Model, Path]) -> None:
    predict = inference.load_model(model[1])
    images = np.random.default_rng(0).integers(0, 256, (65, 28, 28), dtype=np.uint8)
    expected = model[0].predict(images[..., None], verbose=0)
    for n in 1, 65, 2, 1:
        found = predict(images[:n])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:n], atol=1e-5)


def test_needs_no_tensorflow_and_is_quiet(model: tuple[keras.Model, Path]) -> None:
    code = (
        "import sys, pathlib, numpy; from mnist_utils.runs import inference; import mnist_utils.cli.main;"
        "print(inference.load_model(pathlib.Path(sys.argv[1]))(numpy.zeros((1, 28, 28))).shape,"
        "[name for name in ('tensorflow', 'keras', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model[1])], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(1, 10) []\n", "")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model file .*nosuch.tflite"):
        inference.load_model(tmp_path / "nosuch.tflite")
    (tmp_path / "text.tflite").write_text("this is not a network")
    with pytest.raises(ModelError, match=r"text.tflite is not a LiteRT model"):
        inference.load_model(tmp_path / "text.tflite")


def test_a_network_for_something_else(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.export(tmp_path / "other.tflite", format="litert", verbose=False)
    with pytest.raises(ModelError, match=r"takes \(4,\) and returns \(3,\); wanted \(28, 28, 1\) and \(classes,\)"):
        inference.load_model(tmp_path / "other.tflite")


def test_an_image_whose_probability_is_spread_over_more_than_three_digits_is_unlike_digits() -> None:
    random = np.random.default_rng(0)
    for concentration in 0.05, 0.3, 2:
        for probabilities in random.dirichlet(np.full(10, concentration), 100).astype(np.float32):
            assert inference.unlike_digits(probabilities) == (np.exp(entropy(probabilities)) > 3)
    assert not inference.unlike_digits(np.eye(10, dtype=np.float32)[3])
    assert not inference.unlike_digits(np.array([0.5, 0.5, *[0] * 8]))  # a digit, though nobody knows which
    assert inference.unlike_digits(np.full(10, 0.1, np.float32))


def test_a_keras_file_answers_the_same(model: tuple[keras.Model, Path], tmp_path: Path) -> None:
    model[0].save(tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    np.testing.assert_allclose(
        inference.load_model(tmp_path / "model.keras")(images), inference.load_model(model[1])(images), atol=1e-5
    )


def test_a_keras_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    evil = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Flatten()])
    evil.save(tmp_path / "evil.keras")
    (tmp_path / "text.keras").write_text("no network")
    with pytest.raises(ModelError, match=r"evil.keras cannot be loaded with safe_mode, .* it has a Lambda layer"):
        inference.load_model(tmp_path / "evil.keras")
    with pytest.raises(ModelError, match=r"text.keras is not a .keras file"):
        inference.load_model(tmp_path / "text.keras")


def layered(*layers: keras.layers.Layer, shape: tuple[int, ...] = (28, 28, 1)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *layers])


def test_a_file_of_no_run_must_scale_and_return_probabilities(tmp_path: Path) -> None:
    flat, dense, scaling = keras.layers.Flatten, keras.layers.Dense, keras.layers.Rescaling
    small, large = keras.layers.BatchNormalization(name="small"), keras.layers.BatchNormalization(name="large")
    for name, model, wrong in (
        ("raw", layered(flat(), dense(10, "softmax")), "does not scale its input"),
        ("logits", layered(scaling(1 / 255), flat(), dense(10)), "returns no probabilities: its rows do not sum to 1"),
        ("flat", layered(flat(), dense(10, "softmax"), shape=(28, 28)), r"takes \(28, 28\) and returns \(10,\)"),
        ("small", layered(small, flat(), dense(10, "softmax")), "does not scale its input"),
        ("large", layered(large, flat(), dense(10, "softmax")), ""),
        ("augmented", layered(keras.layers.RandomRotation(0.1), scaling(1 / 255), flat(), dense(10, "softmax")), ""),
    ):
        if name in ("small", "large"):
            model.layers[0].moving_variance.assign([0.1 if name == "small" else 6000.0])
        model.save(path := tmp_path / f"{name}.keras")
        if not wrong:
            assert inference.load_model(path)(np.zeros((1, 28, 28))).shape == (1, 10)
            continue
        with pytest.raises(ModelError, match=wrong) as error:
            inference.load_model(path)
        assert str(error.value).endswith(f"make a run of it, which does what it lacks: mnist import {path} --dataset mnist")
        assert len(str(error.value).splitlines()) == 1
    layered(scaling(1 / 255), flat(), dense(10)).export(tmp_path / "logits.tflite", format="litert", verbose=False)
    with pytest.raises(ModelError, match=r"logits.tflite returns no probabilities.* mnist import takes the .keras file"):
        inference.load_model(tmp_path / "logits.tflite")


def test_an_answer_is_the_reading_and_the_networks_probabilities() -> None:
    digit = load_dataset("digits").x_test[0]
    logits = np.array([[0.0, 1, 2, 3, 4, 9, 8, 7, 6, 5]])
    seen: list[np.ndarray] = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.asarray(softmax(logits, axis=1), np.float32)

    found = inference.predict_picture(synthetic.encode_png(255 - digit), network)
    assert found.seen.inverted
    np.testing.assert_array_equal(seen[0][0], found.seen.image)
    np.testing.assert_allclose(found.probabilities, softmax(logits[0]), atol=1e-6)
    assert found.label == 5
    assert [label for label, _ in found.top(4)] == [5, 6, 7, 8]
    assert found.top(1)[0][1] == pytest.approx(softmax(logits[0]).max(), abs=1e-6)
    with pytest.raises(ImageError, match="no digit"):  # nothing on white is lighter
        inference.predict_picture(synthetic.encode_png(255 - digit), network, polarity="light-on-dark")


@pytest.mark.parametrize("name", ["model.tflite", "model.keras"])
def test_a_model_of_an_earlier_version_is_calibrated_with_its_runs_temperature(name: str, tmp_path: Path) -> None:
    images = load_dataset("digits").x_test[:20]
    shutil.copytree(REFERENCE, run := tmp_path / "run")
    stored = inference.load_model(run / name)(images)
    config, metrics = (json.loads((run / f"{file}.json").read_text()) for file in ("config", "metrics"))
    (run / "config.json").write_text(json.dumps(config | {"format": 1}))
    (run / "metrics.json").write_text(json.dumps(metrics | {"temperature": 3.0}))
    calibrated = inference.load_model(run / name)(images)
    np.testing.assert_allclose(calibrated, softmax(np.log(np.maximum(stored, 1e-30)) / 3, axis=1), atol=1e-5)
    assert calibrated.dtype == np.float32
    assert np.abs(calibrated - stored).max() > 0.01


def test_any_number_of_images_is_predicted_in_batches(model: tuple[keras.Model, Path]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1201, 28, 28), dtype=np.uint8)
    expected = model[0].predict(images[..., None], verbose=0)
    np.testing.assert_allclose(inference.load_model(model[1])(images), expected, atol=1e-5)


def test_no_digit_is_no_answer() -> None:
    with pytest.raises(ImageError, match="no digit"):
        inference.predict_picture(
            synthetic.encode_png(np.full((50, 50), 200, np.uint8)), lambda _: np.full((1, 10), 0.1, np.float32)
        )


@pytest.mark.parametrize(
    ("probability", "confidence"), [(0.99999, 0.9999), (1.0, 0.9999), (0.5, 0.5), (0.12345, 0.1234), (0, 0)]
)
def test_a_confidence_is_never_more_than_the_probability(probability: float, confidence: float) -> None:
    assert inference.round_down(probability) == confidence
