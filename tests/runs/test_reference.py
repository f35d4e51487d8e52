"""The committed run that `mnist predict` answers with on a fresh clone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.preprocessing.decode import ImageError
from mnist_utils.preprocessing.reader import preprocess
from mnist_utils.runs import inference
from mnist_utils.runs.find import read_run
from tests.paths import REFERENCE
from tests.pictures import KINDS


def test_is_whole_small_and_trained_on_the_real_mnist() -> None:
    run = read_run("reference", REFERENCE.parent)
    assert run.incomplete == ""
    assert run.dataset_name == "mnist"
    assert run.facts["git_commit"]
    assert not run.facts["git_commit"].endswith("+")
    parts = [path for path in REFERENCE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in parts) < 5_000_000


def test_its_numbers_follow_from_its_predictions() -> None:
    run = read_run("reference", REFERENCE.parent)
    with np.load(REFERENCE / "predictions.npz", allow_pickle=False) as archive:
        found = compute_metrics(archive["probabilities"], archive["labels"])
    assert found.n == 10_000
    assert run.trained().test.accuracy == found.accuracy >= 0.992
    assert run.trained().test.confusion_matrix == found.confusion_matrix


def test_its_network_answers_right_on_other_peoples_digits() -> None:
    dataset = load_dataset("digits")  # another data set, scanned elsewhere, at 8x8
    answers = inference.load_model(REFERENCE / "model.tflite")(dataset.x_test).argmax(axis=1)
    assert (answers == dataset.y_test).mean() > 0.8


@pytest.mark.mnist
def test_its_network_gives_the_recorded_probabilities(real_mnist: Path) -> None:
    dataset = load_dataset("mnist", data_dir=real_mnist)
    with np.load(REFERENCE / "predictions.npz", allow_pickle=False) as archive:
        found = inference.load_model(REFERENCE / "model.tflite")(dataset.x_test)
        np.testing.assert_allclose(found, archive["probabilities"], atol=1e-4)


def _seen(picture: bytes) -> NDArray[np.uint8]:
    """Return what the network sees; an empty image, which is no answer to any digit, where the reader refuses."""
    try:
        return preprocess(picture).image
    except ImageError:
        return np.zeros((28, 28), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_as_people_bring_them_are_read_as_the_digit_itself(kind: str) -> None:
    predict = inference.load_model(REFERENCE / "model.tflite")
    digits = load_dataset("digits").x_test
    digits = digits[np.argsort(-predict(digits).max(axis=1))[:25]]  # those it is surest of
    random = np.random.default_rng(0)
    seen = np.stack([_seen(KINDS[kind](digit, random)) for digit in digits])
    # `digits` is mostly half-tones, which the jet colours show as strongly as full ink, and so thick that a tight
    # cut leaves more ink than paper; the real MNIST, below, has neither fault.
    least = {"matplotlib_jet": 0.7, "touching_the_border": 0.5}.get(kind, 0.88)
    assert (predict(seen).argmax(axis=1) == predict(digits).argmax(axis=1)).mean() >= least


@pytest.mark.mnist
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_real_mnist_digits_are_answered_right(kind: str, real_mnist: Path) -> None:
    dataset = load_dataset("mnist", data_dir=real_mnist)
    random = np.random.default_rng(1)
    seen = np.stack([preprocess(KINDS[kind](digit, random)).image for digit in dataset.x_test[:60]])
    answers = inference.load_model(REFERENCE / "model.tflite")(seen).argmax(axis=1)
    assert (answers == dataset.y_test[:60]).mean() >= 0.93


@pytest.mark.mnist
def test_inversion_costs_nothing_at_all(real_mnist: Path) -> None:
    digits = load_dataset("mnist", data_dir=real_mnist).x_test
    random, changed = np.random.default_rng(0), 0
    for digit in digits:
        plain, inverted = (preprocess(KINDS[kind](digit, random)) for kind in ("as_is", "inverted"))
        np.testing.assert_array_equal(plain.image, inverted.image)
        assert (plain.inverted, inverted.inverted) == (False, True)
        changed += np.abs(plain.image.astype(int) - digit).max() > 1  # the few that are not quite white are stretched
    assert changed <= 5  # those with hard edges, as of a paint program, are read as such
