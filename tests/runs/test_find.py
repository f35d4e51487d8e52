from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import Dataset
from mnist_utils.runs import find
from mnist_utils.runs.compare import compare_runs
from mnist_utils.runs.run import Run, RunError
from tests.fake_runs import fake_run, write_run
from tests.paths import CLONE, MODEL, REFERENCE


def write(folder: Path, name: str, accuracy: float | None, *, correct: Any = None, **given: Any) -> None:
    """Write a run that lists and comparisons read; no accuracy: incomplete."""
    given = {"dataset": "mnist"} | given | ({"why": "training was not finished"} if accuracy is None else {})
    write_run(fake_run(name, accuracy or 0.0, **given), folder, correct=correct)


def test_lists_the_best_first_and_the_incomplete_last(tmp_path: Path) -> None:
    for name, accuracy in ("low", 0.5), ("broken", None), ("high", 0.9), ("damaged", 0.99):
        write(tmp_path, name, accuracy)
    write(tmp_path, "other", 0.95, dataset="digits")
    (tmp_path / "damaged" / "metrics.json").write_text('{"test": {}}')
    (tmp_path / "not-a-run").mkdir()
    found = find.list_runs(tmp_path)
    assert [run.name for run in found] == ["high", "low", "other", "broken", "damaged"]
    assert "metrics.json lacks validation" in found[-1].incomplete
    assert find.list_runs(tmp_path / "nosuch") == []


def test_reads_by_name_and_by_path(tmp_path: Path) -> None:
    write(tmp_path, "one", 0.9)
    assert find.read_run("one", tmp_path) == find.read_run(str(tmp_path / "one"), tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"no run 'two' in .*; there are: one"):
        find.read_run("two", tmp_path)
    with pytest.raises(RunError, match="there are: none yet"):
        find.read_run("two", tmp_path / "nosuch")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("my model.keras", "is a model, not a run; make a run of it: mnist import '{}' --dataset mnist"),
        ("x.tflite", "is a model, not a run; allowed: a run"),
        ("x.h5", "is in the older form HDF5; allowed: .keras. Convert it: python -c"),
        ("saved", "is a SavedModel, which Keras 3 cannot turn back into a model; allowed: .keras"),
    ],
)
def test_a_model_where_a_run_is_wanted(given: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    path = tmp_path / given
    for find_it in find.read_run, find.find_model:
        if find_it is find.find_model and path.suffix in (".keras", ".tflite"):
            assert find.find_model(str(path), tmp_path) == path
            continue
        with pytest.raises(ConfigError) as error:
            find_it(str(path), tmp_path)
        assert str(error.value).startswith(f"{path} {message.format(path)}")
        assert len(str(error.value).splitlines()) == 1


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    write(tmp_path, "one", 0.9)
    (tmp_path / "one" / "metrics.json").write_text('{"test": ')
    with pytest.raises(RunError, match=r"run one is damaged: .*metrics.json"):
        find.read_run("one", tmp_path)


def test_the_default_network_is_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "broken", None)
    write(tmp_path, "low", 0.5)
    assert find.find_model(None, tmp_path) == MODEL
    monkeypatch.setattr(find, "_clone", lambda: tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"there is no reference run in .* name another with --model"):
        find.find_model(None, tmp_path)
    write(tmp_path, "reference", 0.7)
    assert find.find_model(None, tmp_path) == tmp_path / "reference" / "model.tflite"
    assert find.find_model("low", tmp_path) == tmp_path / "low" / "model.tflite"
    assert find.find_model("x/y.tflite", tmp_path) == Path("x/y.tflite")
    with pytest.raises(RunError, match="run broken is incomplete"):
        find.find_model("broken", tmp_path)


def test_the_run_to_look_at_is_the_newest_whole_one_else_the_reference(tmp_path: Path) -> None:
    committed = REFERENCE
    assert find.select_run("", tmp_path).path == committed
    write(tmp_path, "reference", 0.7)
    assert find.select_run("", tmp_path).path == find.select_run("reference", tmp_path).path == tmp_path / "reference"
    for name, accuracy, started in (
        ("old", 0.9, "2026-01-02T11:00:00+00:00"),
        ("new", 0.5, "2026-01-02T10:00:00-02:00"),  # at 12:00
        ("broken", None, "2026-01-03T00:00:00+00:00"),
    ):
        write(tmp_path, name, accuracy, started=started)
    write(tmp_path, "reference", 0.7, started="2027-01-01T00:00:00+00:00")
    assert find.select_run("", tmp_path).name == "new"
    assert find.select_run("old", tmp_path).name == "old"
    assert find.select_run(str(tmp_path / "old"), tmp_path / "elsewhere").name == "old"
    with pytest.raises(RunError, match="broken is incomplete"):
        find.select_run("broken", tmp_path)
    with pytest.raises(RunError, match="no run 'nosuch'"):
        find.select_run("nosuch", tmp_path)
    assert find.select_run("old", tmp_path).describe() == "run old (fast, trained on mnist, seed 0)"


def test_a_run_brings_its_data_set_and_predictions(tiny_run: Run, tiny: Dataset, tmp_path: Path) -> None:
    found = tiny_run.dataset()
    np.testing.assert_array_equal(found.x_train, tiny.x_train)
    for part, x, y in ("test", tiny.x_test, tiny.y_test), ("validation", tiny.x_validation, tiny.y_validation):
        probabilities, labels = tiny_run.predictions(part)  # type: ignore[arg-type]
        np.testing.assert_array_equal(labels, y)
        np.testing.assert_allclose(tiny_run.predict(x), probabilities, atol=1e-5)
    write(tmp_path, "other", 0.9, dataset="digits", sha256="0123456789abcdef")
    with pytest.raises(RunError, match=r"on a digits of SHA-256 0123456789ab\.\.\., scikit-learn has [0-9a-f]{12}"):
        find.read_run("other", tmp_path).dataset()


def test_results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find.results_dir(tmp_path) == tmp_path
    monkeypatch.setenv("MNIST_RESULTS", "elsewhere")
    assert find.results_dir() == Path("elsewhere")
    monkeypatch.delenv("MNIST_RESULTS")
    assert find.results_dir() == CLONE / "results"


def test_compares_on_the_same_images(tmp_path: Path) -> None:
    a = np.array([True] * 80 + [False] * 20)
    b = np.array([True] * 78 + [False] * 2 + [True] * 10 + [False] * 10)
    write(tmp_path, "a", 0.8, correct=a)
    write(tmp_path, "b", 0.88, correct=b)
    found = compare_runs(find.read_run("a", tmp_path), find.read_run("b", tmp_path))
    assert (found.n, found.only_a, found.only_b) == (100, 2, 10)
    with np.load(tmp_path / "a" / "predictions.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "a" / "predictions.npz", **arrays | {"probabilities": np.eye(10)[np.full(100, 3)]})
    a_alone = compare_runs(find.read_run("a", tmp_path), find.read_run("b", tmp_path), "test")
    assert (a_alone.n, a_alone.only_a, a_alone.only_b) == (100, 12, 0)  # other predictions of the test images
    write(tmp_path, "fewer", 0.8, correct=a[:50])
    with pytest.raises(RunError, match=r"a was validated on 100 images, fewer on 50 others .*allowed: the same"):
        compare_runs(find.read_run("a", tmp_path), find.read_run("fewer", tmp_path))
    write(tmp_path, "other", 0.8, correct=a, sha256="t")
    with pytest.raises(RunError, match="not the same images"):
        compare_runs(find.read_run("a", tmp_path), find.read_run("other", tmp_path))
    write(tmp_path, "lost", 0.8)
    with pytest.raises(RunError, match=r"run lost is damaged: .*predictions.npz"):
        compare_runs(find.read_run("a", tmp_path), find.read_run("lost", tmp_path))
    write(tmp_path, "broken", None)
    with pytest.raises(RunError, match="broken is incomplete"):
        compare_runs(find.read_run("a", tmp_path), find.read_run("broken", tmp_path))


@pytest.mark.parametrize("metrics", [True, False])
def test_a_folder_of_an_earlier_version_is_read_and_calibrated(metrics: bool, tmp_path: Path) -> None:
    """Then the model was not calibrated, validation predictions were not kept, and each part had a mark of its own."""
    run = fake_run("old", 0.9)
    assert run.metrics
    place = write_run(replace(run, metrics=replace(run.metrics, temperature=2.0)), tmp_path)
    scores = np.log(np.array([[0.9] + [0.1 / 9] * 9], np.float32))
    np.savez(place / "predictions.npz", probabilities=np.exp(scores), labels=np.array([0], np.uint8))
    (place / "notebooks").mkdir()
    (place / "notebooks" / "incomplete").write_text("notebook 03 was not finished\n")
    if not metrics:
        (place / "incomplete").write_text("stopped by Ctrl-C\n")
    found = find.read_run("old", tmp_path)
    assert found.incomplete == ("" if metrics else "stopped by Ctrl-C; ") + "notebook 03 was not finished"
    assert bool(found.metrics) is metrics
    if metrics:
        halved = np.exp(scores / 2)
        np.testing.assert_allclose(found.predictions()[0], halved / halved.sum(), rtol=1e-5)
        with pytest.raises(RunError, match="without validation predictions"):
            found.predictions("validation")
