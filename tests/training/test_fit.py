from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_utils import ConfigError
from mnist_utils.data.datasets import Dataset
from mnist_utils.training import CHECKPOINT
from mnist_utils.training.config import TrainConfig, make_config
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import backend, checkpoint, epochs, fit, loop
else:
    keras = lazy("keras")
    backend = lazy("mnist_utils.training.backend")
    checkpoint = lazy("mnist_utils.training.checkpoint")
    epochs = lazy("mnist_utils.training.epochs")
    fit = lazy("mnist_utils.training.fit")
    loop = lazy("mnist_utils.training.loop")

BASE: dict[str, Any] = {"dataset": "digits", "train_limit": 200, "epochs": 2, "batch_size": 50, "precision": "float32"}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return fit.load_training_data(make_config(**BASE))[1]


def quick(dataset: Dataset, folder: Path, **given: Any) -> fit.Trained:
    return fit.train(make_config(**BASE | given), dataset, folder, progress=False)


def weights(trained: fit.Trained) -> bytes:
    return b"".join(array.tobytes() for array in trained.model.get_weights())


def numbers(trained: fit.Trained) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in trained.history]


@pytest.fixture(scope="module")
def base(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> fit.Trained:
    return quick(digits, tmp_path_factory.mktemp("base"))


def test_learns(digits: Dataset, tmp_path: Path) -> None:
    trained = quick(digits, tmp_path, epochs=12)
    assert trained.history[-1]["val_accuracy"] > 0.85
    assert [row["epoch"] for row in trained.history] == list(range(1, 13))
    assert tuple(trained.history[0]) == fit.HISTORY
    assert len(trained.curve) == 12 * 4  # steps
    assert trained.curve[0]["epoch"] == 0.125
    assert trained.curve[0]["loss"] > 2 > trained.curve[-1]["loss"]
    assert trained.model.compute_dtype == "float32"


def test_the_same_seed_gives_the_same_weights(digits: Dataset, base: fit.Trained, tmp_path: Path) -> None:
    assert weights(quick(digits, tmp_path)) == weights(base)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "simple"),
        ("epochs", 3),
        ("batch_size", 40),
        ("learning_rate", 0.001),
        ("schedule", "constant"),
        ("label_smoothing", 0.3),
        ("augment", "erase"),
        ("conv_dropout", 0.3),
        ("dense_dropout", 0.3),
        ("augment", "affine"),
        ("precision", "mixed_bfloat16"),
        ("seed", 1),
    ],
)
def test_each_hyper_parameter_reaches_training(
    name: str, value: Any, digits: Dataset, base: fit.Trained, tmp_path: Path
) -> None:
    assert weights(quick(digits, tmp_path, **{name: value})) != weights(base)


def test_the_data_hyper_parameters_reach_training() -> None:
    config, dataset = fit.load_training_data(make_config(dataset="digits", train_limit=300, validation_fraction=0.3))
    assert (dataset.name, len(dataset.x_train), len(dataset.x_validation)) == ("digits", 300, 432)
    assert config.train_limit == 300


@pytest.mark.parametrize(("epochs", "batch_size", "steps"), [(2, 50, 8), (1, 64, 4), (3, 200, 3)])
def test_epochs_and_batch_size_set_the_number_of_steps(
    epochs: int, batch_size: int, steps: int, digits: Dataset, tmp_path: Path
) -> None:
    config = make_config(**BASE | {"epochs": epochs, "batch_size": batch_size})
    fit.train(config, digits, tmp_path, progress=False)
    model = fit.compile_model(config, len(digits.x_train))
    checkpoint.restore_checkpoint(tmp_path / CHECKPOINT, model)
    assert int(model.optimizer.iterations) == steps


def test_schedule_rises_then_falls_to_zero(digits: Dataset) -> None:
    config = make_config(**BASE | {"epochs": 25, "learning_rate": 0.01})  # 100 steps
    rate = fit.compile_model(config, len(digits.x_train)).optimizer._learning_rate
    values = [float(rate(step)) for step in (0, 20, 60, 100)]
    assert values == pytest.approx([0.0004, 0.01, 0.005, 0], abs=1e-6)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 4},
        {"epochs": 4, "conv_dropout": 0.2, "dense_dropout": 0.4, "augment": "affine", "schedule": "constant"},
        {"epochs": 8, "patience": 1, "learning_rate": 0.05, "seed": 3},
    ],
)
def test_an_interrupted_training_ends_with_the_same_weights(
    given: dict[str, Any], digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "uninterrupted", tmp_path / "interrupted"]
    for folder in folders:
        folder.mkdir()
    uninterrupted = quick(digits, folders[0], **given)
    save = checkpoint.save_checkpoint

    def save_then_die(*args: Any) -> None:
        save(*args)
        raise Killed

    monkeypatch.setattr(fit, "save_checkpoint", save_then_die)
    with pytest.raises(Killed):
        quick(digits, folders[1], **given)
    monkeypatch.undo()
    resumed = quick(digits, folders[1], **given)
    assert numbers(resumed) == numbers(uninterrupted)
    assert weights(resumed) == weights(uninterrupted)


def test_patience_stops_and_keeps_the_best(digits: Dataset, tmp_path: Path) -> None:
    trained = quick(digits, tmp_path, epochs=60, patience=2, schedule="constant", learning_rate=0.01)
    losses = [row["val_loss"] for row in trained.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 60
    trained.model.compile(loss="sparse_categorical_crossentropy")
    found = trained.model.evaluate(digits.x_validation[..., None], digits.y_validation, verbose=0)
    assert found == pytest.approx(losses[best], rel=1e-4)


def test_patience_beyond_the_end_still_keeps_the_best(digits: Dataset, tmp_path: Path) -> None:
    trained = quick(digits, tmp_path, epochs=6, patience=50, learning_rate=0.03, schedule="constant")
    best = min(row["val_loss"] for row in trained.history)
    trained.model.compile(loss="sparse_categorical_crossentropy")
    assert trained.model.evaluate(digits.x_validation[..., None], digits.y_validation, verbose=0) == pytest.approx(
        best, rel=1e-4
    )


def test_a_loss_of_nan_is_an_error_with_advice(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = loop.Seen(steps=4, images=8, labelled=8, correct=1, cross_entropy=9.0, loss=float("nan"))
    monkeypatch.setattr(fit, "compile_steps", lambda *_: lambda *_: [seen])
    with pytest.raises(checkpoint.TrainingError, match=r"epoch 1.*learning_rate below 0.03"):
        quick(digits, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_damaged_checkpoint_is_an_error_that_names_it(digits: Dataset, tmp_path: Path) -> None:
    quick(digits, tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for broken in (b"nonsense", whole[:-1000], bytes(flipped)):
        (tmp_path / CHECKPOINT).write_bytes(broken)
        with pytest.raises(checkpoint.TrainingError, match=r"checkpoint.npz .*Delete it"):
            quick(digits, tmp_path)


def test_bad_hyper_parameters_are_an_error_before_data_are_loaded() -> None:
    with pytest.raises(ConfigError, match="epochs"):
        fit.load_training_data(make_config(dataset="mnist", epochs=0))


def test_auto_becomes_the_available_data_set_with_its_defaults() -> None:
    config, dataset = fit.load_training_data(make_config(dataset="auto"))
    assert (config.dataset, dataset.name) == ("digits", "digits")
    assert config.epochs == TrainConfig(dataset="digits").epochs


def test_epoch_images_are_reshuffled_each_epoch(digits: Dataset) -> None:
    config = make_config(**BASE | {"augment": "none"})
    first, targets = epochs.epoch_images(digits.x_train, digits.y_train, config, 0)
    again, _ = epochs.epoch_images(digits.x_train, digits.y_train, config, 0)
    second, _ = epochs.epoch_images(digits.x_train, digits.y_train, config, 1)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    pairs = {(image.tobytes(), label) for image, label in zip(digits.x_train, digits.y_train, strict=True)}
    assert {(image.tobytes(), label) for image, label in zip(first, targets.argmax(axis=1), strict=True)} == pairs


def test_one_image_in_ten_shows_no_digit_for_pictures_and_wants_no_digit(digits: Dataset) -> None:
    config = make_config(**BASE | {"augment": "pictures", "label_smoothing": 0})
    images, targets = epochs.epoch_images(digits.x_train, digits.y_train, config, 0)
    outliers = targets.max(axis=1) < 1
    assert 0.05 < outliers.mean() < 0.15
    assert (targets[outliers] == np.float32(0.1)).all()
    assert sorted(targets[~outliers].argmax(axis=1)) != sorted(digits.y_train)
    unchanged = epochs.epoch_images(digits.x_train, digits.y_train, make_config(**BASE | {"augment": "none"}), 0)[1]
    np.testing.assert_array_equal(targets[~outliers].argmax(axis=1), unchanged[~outliers].argmax(axis=1))
    assert images[outliers].any(axis=(1, 2)).all()


def test_label_smoothing_agrees_with_keras(digits: Dataset) -> None:
    labels = np.arange(10, dtype=np.uint8)
    np.testing.assert_array_equal(epochs.one_hot_targets(labels), np.eye(10))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 10).astype(np.float32)
    smoothed = keras.losses.CategoricalCrossentropy(label_smoothing=0.2)(np.eye(10), probabilities)
    ours = keras.losses.CategoricalCrossentropy()(epochs.one_hot_targets(labels, 0.2), probabilities)
    assert float(ours) == pytest.approx(float(smoothed), rel=1e-6)
    _, targets = epochs.epoch_images(digits.x_train, digits.y_train, make_config(**BASE | {"label_smoothing": 0.2}), 0)
    assert set(np.unique(targets)) == {np.float32(0.02), np.float32(1 - np.float32(0.2)) + np.float32(0.02)}


def test_the_validation_loss_is_without_label_smoothing(digits: Dataset, tmp_path: Path) -> None:
    trained = quick(digits, tmp_path, label_smoothing=0.3)
    probabilities = trained.model.predict(digits.x_validation[..., None], verbose=0)
    expected = -np.log(probabilities[np.arange(len(probabilities)), digits.y_validation]).mean()
    assert trained.history[-1]["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_batches_are_in_order_and_the_last_may_be_smaller() -> None:
    x, y = np.arange(10, dtype=np.uint8), np.arange(10, dtype=np.float32) * 2
    fed = list(backend.batches(4, x, y).as_numpy_iterator())
    assert [images.tolist() for images, _ in fed] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(np.concatenate([doubled for _, doubled in fed]), y)


def test_feeding_is_not_tuned(digits: Dataset) -> None:
    # With tuning, the end of an epoch waits for a sleeping thread, up to as long as the epoch took.
    assert backend.batches(4, digits.x_train).options().autotune.enabled is False


def test_other_threads_that_draw_random_numbers_do_not_change_a_model() -> None:
    """Threads such as those of Dask in a worker."""
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            random.random()  # noqa: S311 - as any library may
            time.sleep(0)

    def weights() -> Any:
        return fit.compile_model(make_config(**BASE, model="simple", conv_dropout=0.2), 100).get_weights()

    expected = weights()
    thread = threading.Thread(target=draw)
    thread.start()
    try:
        found = [weights() for _ in range(3)]
    finally:
        stop.set()
        thread.join()
    for one in found:
        for a, b in zip(one, expected, strict=True):
            np.testing.assert_array_equal(a, b)
