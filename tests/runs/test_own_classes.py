"""Runs of three and of 47 classes go through every door as those of ten digits do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from matplotlib.figure import Figure

from mnist_utils import plots
from mnist_utils.data import exploration
from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation import errors
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.runs.evaluate import summarize_run
from mnist_utils.runs.find import read_run
from mnist_utils.runs.record import record_run
from mnist_utils.runs.run import Run
from mnist_utils.serving.app import create_app
from mnist_utils.training.config import make_config
from tests.conftest import Cli
from tests.data.test_own import shape_picture, write_csv, write_shapes

SHAPES = ("circle", "cross", "square")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run on three classes of pictures, and one on 47 classes of noise, each around an image of its own."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    centres = random.integers(0, 256, (47, 28, 28))
    labels = np.repeat(np.arange(47), 14)
    noisy = np.clip(centres[labels] + random.normal(0, 20, (len(labels), 28, 28)), 0, 255).astype(np.uint8)
    np.savez(folder / "many.npz", x_train=noisy, y_train=labels + 1)
    for path, name in (write_shapes(folder / "shapes", 40), "shapes"), (folder / "many.npz", "many"):
        config = make_config(dataset=str(path), epochs=12 if name == "shapes" else 3, batch_size=16, augment="none")
        record_run(config, load_dataset(str(path)), name, folder / "results", progress=False)
    return folder / "results"


@pytest.fixture(params=["shapes", "many"])
def run(request: pytest.FixtureRequest, results: Path) -> Run:
    return read_run(request.param, results)


def test_a_run_keeps_its_classes_and_finds_its_data_again(run: Run) -> None:
    n = {"shapes": 3, "many": 47}[run.name]
    assert run.classes == (SHAPES if n == 3 else tuple(map(str, range(1, 48))))
    probabilities, labels = run.predictions()
    assert probabilities.shape == (len(labels), n)
    dataset = run.dataset()
    assert dataset.classes == run.classes
    np.testing.assert_array_equal(dataset.y_test, labels)
    np.testing.assert_allclose(run.predict(dataset.x_test[:5]), probabilities[:5], atol=1e-4)
    found = run.trained().test
    assert np.array(found.confusion_matrix).shape == (n, n)
    assert found.accuracy == compute_metrics(probabilities, labels).accuracy > 0.8
    assert summarize_run(run).n == len(labels)


def test_its_tables_and_figures_name_the_classes(run: Run) -> None:
    dataset, matrix = run.dataset(), run.trained().test.confusion_matrix
    assert errors.per_class_table(matrix, run.classes).index.tolist() == list(run.classes)
    wrong = np.array(matrix)
    wrong[0, 1] += 5
    first = errors.confused_pairs(wrong, classes=run.classes).iloc[0]
    assert (first["class"], first["prediction"]) == run.classes[:2]
    counts = exploration.class_counts(dataset)
    assert counts.index.name == "class"
    assert counts["training"].tolist() == np.bincount(dataset.y_train, minlength=len(run.classes)).tolist()
    axes = plots.confusion_matrices(matrix, classes=run.classes, title="x", figure=Figure()).axes
    assert [label.get_text() for label in axes[0].get_xticklabels()] == list(run.classes)
    means, stds = exploration.class_mean_and_std(dataset.x_train, dataset.y_train, len(run.classes))
    titles = {ax.get_title() for ax in plots.class_means(means, stds, classes=run.classes, title="x").axes}
    assert set(run.classes) <= titles


def test_the_command_predicts_names(mnist: Cli, results: Path, tmp_path: Path) -> None:
    for kind in SHAPES:
        (tmp_path / f"{kind}.png").write_bytes(shape_picture(kind, 99))
    files = [str(tmp_path / f"{kind}.png") for kind in SHAPES]
    status, out, _ = mnist("predict", *files, "--model", "shapes", "--results", str(results), "--json")
    assert status == 0
    assert [(picture["label"], picture["class"]) for picture in json.loads(out)] == list(enumerate(SHAPES))
    _, out, _ = mnist("predict", *files, "--model", "shapes", "--results", str(results))
    assert all(kind in out for kind in (*SHAPES, "class"))


def test_kaggles_rows_are_answered_in_its_form(mnist: Cli, results: Path, tmp_path: Path) -> None:
    run = read_run("many", results)
    dataset = run.dataset()
    write_csv(tmp_path / "test.csv", dataset.x_test[:4], None)
    given = "predict", str(tmp_path / "test.csv"), "--submission", str(tmp_path / "out.csv"), "--results", str(results)
    status, _, err = mnist(*given, "--model", "many")
    assert (status, err) == (0, "")
    expected = [run.classes[label] for label in run.predict(dataset.x_test[:4]).argmax(axis=1)]
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines == ["ImageId,Label", *(f"{row},{label}" for row, label in enumerate(expected, 1))]


def test_the_server_names_classes(results: Path) -> None:
    with TestClient(create_app(results / "shapes" / "model.tflite")) as client:
        picture = [("image", ("x.png", shape_picture("cross", 99), "image/png"))]
        (answer,) = client.post("/predict", files=picture).json()["Predictions"]
        assert (answer["Label"], answer["Class"]) == (1, "cross")
        explained = client.post("/explain", files=picture).json()
        assert (explained["Classes"], explained["Label"], explained["Number"]) == (list(SHAPES), 1, "")
        assert client.get("/version").json()["classes"] == list(SHAPES)
        assert 'mnist_predictions_total{digit="cross"} 1.0' in client.get("/metrics").text
        refused = client.post("/predict?digits=many", files=picture)
        assert (refused.status_code, refused.json()["Error"]) == (
            400,
            "digits: given many; allowed: one, as this model's classes are no digits",
        )
