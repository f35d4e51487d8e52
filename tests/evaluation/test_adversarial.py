from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.statistics import wilson_interval
from tests.evaluation.linear import linear_model
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.evaluation import adversarial
    from mnist_utils.training import build
else:
    keras = lazy("keras")
    adversarial = lazy("mnist_utils.evaluation.adversarial")
    build = lazy("mnist_utils.training.build")

LABELS = np.arange(8)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("digits").x_test[:8]


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """Train a small network on digits."""
    keras.utils.set_random_seed(0)
    data = load_dataset("digits")
    model = build.build_model("fast")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(data.x_train[..., None], data.y_train, epochs=3, batch_size=64, verbose=0)
    return model


def test_fgsm_of_a_linear_model_is_the_sign_of_its_weights(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that it is each pixel's closed form: the loss's slope is W (p - y), for p the probabilities."""
    monkeypatch.setattr(adversarial, "_BATCH", 3)
    model, weights, bias = linear_model()
    p = softmax(images.reshape(8, -1) / 255 @ weights + bias, axis=1)
    slopes = ((p - np.eye(10)[LABELS]) @ weights.T).reshape(8, 28, 28)
    clear = np.abs(slopes) > 1e-5  # elsewhere, rounding decides the sign
    wanted = np.clip(images + 0.1 * 255 * np.sign(slopes), 0, 255)
    found = adversarial.fgsm(model, images, LABELS, 0.1)
    np.testing.assert_allclose(found[clear], wanted[clear], atol=1e-3)
    assert clear.mean() > 0.99


def test_pgd_goes_up_the_loss_of_a_linear_model_further_than_fgsm(images: np.ndarray) -> None:
    model, weights, bias = linear_model()

    def losses(changed: np.ndarray) -> np.ndarray:
        return np.asarray(-log_softmax(changed.reshape(8, -1) / 255 @ weights + bias, axis=1)[np.arange(8), LABELS])

    once, often = (attack(model, images, LABELS, 0.1) for attack in (adversarial.fgsm, adversarial.pgd))
    assert (losses(once) > losses(images)).all()
    assert (losses(often) > losses(once) - 1e-3).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
def test_no_pixel_changes_by_more_than_epsilon_or_leaves_the_grey_levels(
    images: np.ndarray, trained: keras.Model, epsilon: float
) -> None:
    for changed in (
        adversarial.fgsm(trained, images, LABELS, epsilon),
        adversarial.pgd(trained, images, LABELS, epsilon, steps=5),
        adversarial.pgd(trained, images, LABELS, epsilon, steps=1),
    ):
        assert changed.shape == images.shape
        assert np.abs(changed - images).max() == pytest.approx(255 * epsilon, abs=1e-3)
        assert changed.min() >= 0
        assert changed.max() <= 255


def test_the_start_is_random_and_follows_from_the_seed(images: np.ndarray, trained: keras.Model) -> None:
    one, again, other = (adversarial.pgd(trained, images, LABELS, 0.2, steps=1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any(axis=(1, 2)).all()


def test_accuracy_falls_with_epsilon_and_further_under_pgd(trained: keras.Model) -> None:
    data, steps = load_dataset("digits"), []
    x, y = data.x_test[:300], data.y_test[:300]  # more than are attacked at once
    found = adversarial.accuracy_under_attack(
        trained, x, y, (0, 0.05, 0.1), steps=10, done=lambda step, of: steps.append((step, of))
    )
    assert found[["attack", "epsilon"]].to_numpy().tolist() == [[a, e] for a in ("FGSM", "PGD") for e in (0, 0.05, 0.1)]
    clean = (trained.predict(x[..., None], verbose=0).argmax(axis=1) == y).mean()
    once, often = (found.loc[found["attack"] == name, "accuracy"].to_numpy() for name in ("FGSM", "PGD"))
    assert (once[0], often[0]) == (clean, clean)
    assert clean > 0.8
    for accuracies in once, often:
        assert (np.diff(accuracies) < 0).all()
    assert (often[1:] <= once[1:]).all()
    changed = adversarial.pgd(trained, x, y, 0.05, steps=10)
    correct = int((trained.predict(changed[..., None], verbose=0).argmax(axis=1) == y).sum())
    row = found.iloc[4]
    assert (row["n"], row["accuracy"]) == (300, correct / 300)
    assert (row["low"], row["high"]) == wilson_interval(correct, 300)
    assert steps == [(i, 6) for i in range(1, 7)]
