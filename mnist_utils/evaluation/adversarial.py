"""Accuracy under attack: images changed on purpose, each pixel by little, so that a model predicts them incorrectly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import TINY, Images
from mnist_utils.evaluation.statistics import wilson_interval
from mnist_utils.training.backend import keras

if TYPE_CHECKING:
    import tensorflow as tf

_Slopes = Callable[[NDArray[np.float32], NDArray[Any]], NDArray[np.float32]]
_BATCH = 250  # images attacked at once
_RELATIVE_STEP = 2.5  # the steps together, in radii: enough to cross the ball from any start, and to turn at its edge


def fgsm(model: keras.Model, images: Images, labels: ArrayLike, epsilon: float) -> NDArray[np.float32]:
    """Change each pixel by epsilon, up or down, whichever raises the loss: the fast gradient sign method.

    It takes one gradient per image. A model may resist it because the gradient at the image tells little of the loss further
    away, and still fall to `pgd`: such *gradient masking* is no robustness (Athalye et al., 2018). Of a thousand test images
    changed by at most 0.3, the run `reference` predicts 74 % correctly after this attack, and 1.5 % after `pgd`.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    labels : integer array, shape (n,)
        The true ones.
    epsilon : float, 0 to 1
        Most that a pixel changes (L-infinity norm), in white pixels: 0.1 is 25.5 grey levels.

    Returns
    -------
    float32 array, shape (n, 28, 28), 0 to 255
        Not rounded to whole grey levels.

    References
    ----------
    Goodfellow, Shlens, Szegedy (2015), Explaining and harnessing adversarial examples. ICLR.
    Athalye, Carlini, Wagner (2018), Obfuscated gradients give a false sense of security. ICML.
    """
    return _attack(_compiled_slopes(model), images, labels, epsilon, steps=1, step=epsilon, random=None)


def pgd(
    model: keras.Model, images: Images, labels: ArrayLike, epsilon: float, *, steps: int = 40, seed: int = 0
) -> NDArray[np.float32]:
    """Raise the loss in many small steps, and go back into the allowed cube after each: projected gradient descent.

    It starts at a random place in the cube. Each step changes every pixel by 2.5 epsilon / steps. A stronger attack may
    exist, so the accuracy under this one is an upper bound.

    Parameters
    ----------
    model, images, labels, epsilon
        See `fgsm`.
    steps : int
        Gradients to compute for each image.
    seed : int
        Of the start.

    Returns
    -------
    float32 array, shape (n, 28, 28), 0 to 255
        Not rounded to whole grey levels.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras, Vladu (2018), Towards deep learning models resistant to adversarial attacks. ICLR.
    """
    random = np.random.default_rng(seed)
    return _attack(_compiled_slopes(model), images, labels, epsilon, steps, _RELATIVE_STEP * epsilon / steps, random)


def accuracy_under_attack(
    model: keras.Model,
    images: Images,
    labels: ArrayLike,
    epsilons: Sequence[float],
    *,
    steps: int = 40,
    seed: int = 0,
    done: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Measure the accuracy on images that `fgsm` and `pgd` changed, for each size of the change.

    Parameters
    ----------
    model, images, labels, steps, seed
        See `pgd`. A thousand MNIST images, 40 steps and one epsilon take about 20 s on two cores for `accurate`.
    epsilons : sequence of float, 0 to 1
    done : callable, optional
        Called after each row with its number, from 1, and the number of rows.

    Returns
    -------
    DataFrame
        A row per attack and epsilon; columns attack (FGSM or PGD), epsilon, n, accuracy, low, high (Wilson's 95 %
        interval).
    """
    slopes, truth = _compiled_slopes(model), np.asarray(labels)
    plan = [(name, epsilon) for name in ("FGSM", "PGD") for epsilon in epsilons]
    rows: list[dict[str, Any]] = []
    for name, epsilon in plan:
        once = name == "FGSM"
        random = None if once else np.random.default_rng(seed)
        count, step = (1, epsilon) if once else (steps, _RELATIVE_STEP * epsilon / steps)
        changed = _attack(slopes, images, truth, epsilon, count if epsilon else 0, step, random)
        correct = int((_predicted_labels(model, changed) == truth).sum())
        low, high = wilson_interval(correct, len(truth))
        rows.append({"attack": name, "epsilon": epsilon, "n": len(truth), "accuracy": correct / len(truth)})
        rows[-1] |= {"low": low, "high": high}
        if done:
            done(len(rows), len(plan))
    return pd.DataFrame(rows)


def _attack(
    slopes: _Slopes,
    images: Images,
    labels: ArrayLike,
    epsilon: float,
    steps: int,
    step: float,
    random: np.random.Generator | None,
) -> NDArray[np.float32]:
    """Go `steps` steps up the loss, from the images or from a random place near them; `epsilon` and `step` from 0 to 1."""
    start = images[..., None].astype(np.float32)
    low, high = (np.clip(start + way * np.float32(255 * epsilon), 0, 255) for way in (-1, 1))
    x = start if random is None else random.uniform(low, high).astype(np.float32)
    for _ in range(steps):
        x = np.clip(x + np.float32(255 * step) * np.sign(slopes(x, np.asarray(labels))), low, high)
    return np.asarray(x[..., 0])


def _compiled_slopes(model: keras.Model) -> _Slopes:
    """Return a function that takes images, shape (n, 28, 28, 1), and labels; it returns the gradients of the losses."""
    import tensorflow as tf

    def slopes_of_batch(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            logs = tf.math.log(tf.maximum(model(x, training=False), TINY))
            loss = -tf.reduce_sum(tf.gather(logs, labels, axis=1, batch_dims=1))
        return tape.gradient(loss, x)

    compiled = tf.function(
        slopes_of_batch,
        input_signature=[tf.TensorSpec((None, 28, 28, 1)), tf.TensorSpec((None,), tf.int64)],
        autograph=False,
    )

    def slopes(x: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float32]:
        starts = range(0, len(x), _BATCH)
        parts = [slice(start, start + _BATCH) for start in starts]
        return np.concatenate([compiled(x[part], labels[part].astype(np.int64)).numpy() for part in parts])

    return slopes


def _predicted_labels(model: keras.Model, x: NDArray[np.float32]) -> NDArray[np.intp]:
    parts = (x[start : start + _BATCH, ..., None] for start in range(0, len(x), _BATCH))
    return np.concatenate([np.asarray(model(part, training=False)).argmax(axis=1) for part in parts])
