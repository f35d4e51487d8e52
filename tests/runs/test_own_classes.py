"""Runs of three and of 47 classes go through every door as those of ten digits do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from matplotlib.figure import Figure

from mnist_utils import ConfigError, plots
from mnist_utils.data import exploration
from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation import errors
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.evaluation.statistics import wilson_interval
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.runs.evaluate import evaluate_data, summarize_run
from mnist_utils.runs.find import read_run
from mnist_utils.runs.record import record_run
from mnist_utils.runs.run import Run, RunError
from mnist_utils.serving.app import create_app
from mnist_utils.training.config import make_config
from mnist_utils.training.fit import load_training_data
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


def test_a_raw_run_loads_its_raw_images_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shapes(tmp_path / "shapes", 12)
    (folder / "cross" / "0.png").write_bytes(b"no picture")
    config = make_config(dataset=str(folder), raw=True, skip_unreadable=True, epochs=1)
    config, dataset = load_training_data(config)
    run = record_run(config, dataset, "raw", tmp_path / "results", progress=False)
    facts = json.loads((run.path / "config.json").read_text())
    assert (facts["config"]["raw"], facts["config"]["skip_unreadable"]) == (True, True)
    assert "1 of 36 pictures cannot be read and were left out, the first: cross/0.png" in facts["dataset"]["note"]
    again = read_run("raw", tmp_path / "results").dataset()
    assert again.sha256 == dataset.sha256 != load_dataset(str(folder), skip_unreadable=True).sha256
    moved = folder.rename(tmp_path / "elsewhere")
    assert read_run("raw", tmp_path / "results").dataset(moved).sha256 == dataset.sha256
    monkeypatch.chdir(tmp_path)
    assert read_run("raw", tmp_path / "results").dataset("elsewhere").sha256 == dataset.sha256


# --- mnist evaluate RUN --dataset ---


def test_a_run_is_evaluated_on_all_of_other_data(results: Path, tmp_path: Path) -> None:
    run = read_run("shapes", results)
    for kind, seeds in ("square", range(60, 66)), ("circle", range(70, 73)):  # not all classes, in another order
        (tmp_path / kind).mkdir()
        for seed in seeds:
            (tmp_path / kind / f"{seed}.png").write_bytes(shape_picture(kind, seed))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    found = evaluate_data(run, str(tmp_path))
    assert (found.source, found.part, found.note, found.summary.n) == (str(tmp_path), "all images", "", 9)
    images = np.stack([preprocess(path).image for path in sorted(tmp_path.rglob("*.png"))])
    probabilities, labels = run.predict(images), np.array([0] * 3 + [2] * 6)
    correct = int((probabilities.argmax(axis=1) == labels).sum())
    assert found.summary.accuracy == correct / 9 > 0.5
    assert found.summary.accuracy_interval == pytest.approx(wilson_interval(correct, 9))
    assert found.summary.log_loss == pytest.approx(-np.log(probabilities[np.arange(9), labels]).mean(), rel=1e-4)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_the_data_that_a_run_was_trained_on_are_evaluated_on_their_test_part(run: Run) -> None:
    found = evaluate_data(run, run.config.dataset)
    assert found.part == "the test part"
    assert found.note == "the run was trained on the others of these images"
    assert found.summary.n == run.trained().test.n
    assert found.summary.accuracy == run.trained().test.accuracy


def test_of_data_with_a_test_part_it_is_that(results: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path / "train", 2)
    write_shapes(tmp_path / "test", 1)
    found = evaluate_data(read_run("shapes", results), str(tmp_path))
    assert (found.part, found.summary.n) == ("the test part", 3)


def test_one_picture_of_one_class_is_enough(results: Path, tmp_path: Path) -> None:
    (tmp_path / "cross").mkdir()
    (tmp_path / "cross" / "a.png").write_bytes(shape_picture("cross", 80))
    found = evaluate_data(read_run("shapes", results), str(tmp_path)).summary
    assert found.n == 1
    assert found.expected_calibration_error_interval == (0, 1)


def test_a_class_that_the_run_does_not_know_is_named(results: Path, tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 1)
    (folder / "square").rename(folder / "star")
    run = read_run("shapes", results)
    with pytest.raises(RunError, match=r"shapes has the class star; run shapes knows circle, cross, square$"):
        evaluate_data(run, str(folder))
    with pytest.raises(RunError, match="digits has the class 0; run shapes knows circle, cross, square"):
        evaluate_data(run, "digits")
    with pytest.raises(ConfigError, match=r"data_dir: given x with the data set .*, which is a path already"):
        evaluate_data(run, str(folder), data_dir="x")


def test_the_command_evaluates_other_data(mnist: Cli, results: Path, tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 3)
    (folder / "cross" / "0.png").write_bytes(b"no picture")
    given = "evaluate", "shapes", "--results", str(results), "--dataset", str(folder)
    status, out, err = mnist(*given)
    assert (status, out) == (1, "")
    assert err.startswith(f"mnist: dataset: {folder / 'cross' / '0.png'}: not a picture")
    status, out, _ = mnist(*given, "--skip-unreadable")
    lines = out.splitlines()
    assert (status, lines[0]) == (0, "run shapes (fast, trained on shapes, seed 0)")
    assert lines[1] == f"{folder}: all images, n = 8, 95 % intervals over them"
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "accuracy",
        "expected calibration error",
        "log loss",
        "errors",
        "note",
    ]
    assert "1 of 9 pictures cannot be read and were left out, the first: cross/0.png" in lines[-1]
    answer = json.loads(mnist(*given, "--skip-unreadable", "--raw", "--json")[1])
    assert {name: answer[name] for name in ("run", "dataset", "part", "n")} == {
        "run": "shapes", "dataset": str(folder), "part": "all images", "n": 8,
    }  # fmt: skip
    assert answer.keys() >= {"accuracy", "accuracy_interval", "log_loss", "expected_calibration_error", "note"}
    assert "taken for white on black" in answer["note"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--raw",), "raw: given without --dataset"),
        (("--skip-unreadable",), "skip_unreadable: given without --dataset"),
        (("--robustness", "--dataset", "digits"), "robustness: given with --dataset; allowed: one of them"),
        (("--dataset", "nosuch"), "dataset: given nosuch; allowed: auto, mnist, digits"),
        (("--dataset", "digits", "--raw"), "raw: given with the data set digits, which holds no pictures"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    mnist: Cli, results: Path, options: tuple[str, ...], message: str
) -> None:
    status, out, err = mnist("evaluate", "shapes", "--results", str(results), *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"mnist: {message}")
