"""The committed run that `mnist predict` answers with on a fresh clone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_utils import images, inference, runs
from mnist_utils.data import load_dataset
from mnist_utils.evaluation import evaluate

REFERENCE = Path(__file__).parent.parent / "results" / "reference"


def test_is_whole_small_and_trained_on_the_real_mnist() -> None:
    run = runs.read("reference", REFERENCE.parent)
    assert run.incomplete == ""
    assert run.config["dataset"]["name"] == "mnist"
    assert run.config["git_commit"]
    assert not run.config["git_commit"].endswith("+")
    parts = [path for path in REFERENCE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in parts) < 5_000_000


def test_its_numbers_follow_from_its_predictions() -> None:
    run = runs.read("reference", REFERENCE.parent)
    with np.load(REFERENCE / "predictions.npz", allow_pickle=False) as archive:
        found = evaluate(archive["probabilities"], archive["labels"])
    assert found.n == 10_000
    assert run.metrics["test"]["accuracy"] == found.accuracy >= 0.992
    assert run.metrics["test"]["confusion_matrix"] == found.confusion_matrix


def test_its_network_answers_right_on_other_peoples_digits() -> None:
    dataset = load_dataset("digits")  # another data set, scanned elsewhere, at 8x8
    answers = inference.load(REFERENCE / "model.tflite")(dataset.x_test).argmax(axis=1)
    assert (answers == dataset.y_test).mean() > 0.8


@pytest.mark.mnist
def test_its_network_gives_the_recorded_probabilities(real_mnist: Path) -> None:
    dataset = load_dataset("mnist", data_dir=real_mnist)
    with np.load(REFERENCE / "predictions.npz", allow_pickle=False) as archive:
        found = inference.load(REFERENCE / "model.tflite")(dataset.x_test)
        np.testing.assert_allclose(found, archive["probabilities"], atol=1e-4)


@pytest.mark.mnist
def test_black_on_white_costs_nothing(real_mnist: Path, tmp_path: Path) -> None:
    dataset = load_dataset("mnist", data_dir=real_mnist)
    predict = inference.load(REFERENCE / "model.tflite")
    seen = []
    for image in dataset.x_test[:500]:
        Image.fromarray(255 - image).save(tmp_path / "x.png")
        seen.append(images.read(tmp_path / "x.png").image)
    assert (predict(np.stack(seen)).argmax(axis=1) == predict(dataset.x_test[:500]).argmax(axis=1)).all()
