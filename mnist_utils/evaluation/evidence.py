"""Each pixel's evidence for a prediction, and a check that the evidence depends on what the model learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import TINY, Images
from mnist_utils.training.backend import keras, seeded

if TYPE_CHECKING:
    import tensorflow as tf


_BATCH = 128  # images whose gradients are computed at once; twice as many take as long per image
_STEPS = 64  # nodes of the integral, for each baseline


def choose_baselines(images: Images, labels: ArrayLike, n: int = 20) -> Images:
    """Choose training images, spread over the classes, with which `integrated_gradients` compares images.

    The margins of the classes nearly cancel in their mean. For the mistakes of the reference model, the baselines' margin is
    at most 0.2 nat; that of a black image is up to 2.2 nat, that of the mean training image up to 4.7 nat.

    Parameters
    ----------
    images : uint8 array, shape (m, 28, 28), m > 0
    labels : integer array, shape (m,)
    n : int
        Images to choose; all, if there are fewer.

    Returns
    -------
    uint8 array, shape (min(n, m), 28, 28)
    """
    order = np.argsort(np.asarray(labels), kind="stable")
    n = min(n, len(order))
    return images[order[((np.arange(n) + 0.5) * len(order) / n).astype(int)]]


@dataclass(frozen=True)
class Evidence:
    """Each pixel's evidence for one digit and against another, for each of n images.

    Attributes
    ----------
    pixels : float32 array, shape (n, 28, 28)
        Above 0 if a pixel is evidence for the predicted digit, below 0 if it is evidence for the other one, in nat.
    margins : float32 array, shape (n,)
        The logit of the predicted digit minus that of the other one, in nat.
    baseline_margins : float32 array, shape (n,)
        The mean of the same difference over the baselines, in nat. It is subtracted: the pixels explain
        `margins - baseline_margins`.
    completeness_errors : float32 array, shape (n,)
        The sum of the pixels minus `margins - baseline_margins`, in nat: the error of the numerical integral.
    """

    pixels: NDArray[np.float32]
    margins: NDArray[np.float32]
    baseline_margins: NDArray[np.float32]
    completeness_errors: NDArray[np.float32]


def integrated_gradients(
    model: keras.Model, images: Images, predicted: ArrayLike, others: ArrayLike, baselines: Images
) -> Evidence:
    """Compute each pixel's evidence for one digit and against another.

    The gradient of the difference of the two digits' logits is integrated on the straight line from a baseline to the image,
    and multiplied by the pixel's difference from the baseline. The result is the mean over the baselines (*expected
    gradients*). With training images as baselines, a missing stroke counts: a pixel that is black has evidence where
    baselines have ink. With a black baseline, it would always have none.

    The evidence of all pixels sums to the margin of the image minus that of the baselines, up to the error of the integral
    (midpoint rule, 64 nodes for each baseline). With 20 baselines, on the mistakes of the reference model, the median of
    this error is 0.025 nat, 1 % of the sum, and the largest is 0.07 nat; `Evidence` has it for each image.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    predicted, others : integer array, shape (n,)
        The predicted digit, and the digit to compare it with.
    baselines : uint8 array, shape (b, 28, 28), b > 0
        See `choose_baselines`. The time is proportional to n * b.

    Raises
    ------
    ValueError
        If there is no baseline.

    References
    ----------
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks. ICML.
    Erion, Janizek, Sturmfels, Lundberg and Lee (2021), Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients. Nature Machine Intelligence.
    """
    if not len(baselines):
        raise ValueError("integrated gradients need at least one baseline")
    x, starts = images[..., None].astype(np.float32), baselines[..., None].astype(np.float32)
    pairs = np.stack([np.asarray(predicted), np.asarray(others)], axis=1).astype(np.int64)
    nodes = ((np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS)[:, None, None, None]
    pixels = np.zeros(x.shape, np.float32)
    before = np.zeros(len(x), np.float32)
    slopes_of = _compiled_slopes(model)
    for i, (image, pair) in enumerate(zip(x, pairs, strict=True)):
        path = (starts[:, None] + nodes * (image - starts)[:, None]).reshape(-1, *image.shape)
        slopes = slopes_of(path, pair).reshape(len(starts), _STEPS, *image.shape).mean(axis=1)
        pixels[i] = (slopes * (image - starts)).mean(axis=0)
        before[i] = _margins(model, starts, np.tile(pair, (len(starts), 1))).numpy().mean()
    margins = _margins(model, x, pairs).numpy()
    errors = pixels.sum(axis=(1, 2, 3), dtype=np.float64) - (margins - before)
    return Evidence(pixels[..., 0], margins, before, errors.astype(np.float32))


def _compiled_slopes(model: keras.Model) -> Callable[[NDArray[np.float32], NDArray[Any]], NDArray[np.float32]]:
    """Return a function that takes images, shape (n, 28, 28, 1), and a pair; it returns the margins' gradients."""
    import tensorflow as tf

    def slopes_of_batch(x: tf.Tensor, pairs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            margin = tf.reduce_sum(_margins(model, x, pairs))
        return tape.gradient(margin, x)

    # Compiled, it is three times as fast.
    compiled = tf.function(
        slopes_of_batch,
        input_signature=[tf.TensorSpec((None, 28, 28, 1)), tf.TensorSpec((None, 2), tf.int64)],
        autograph=False,
    )

    def slopes(x: NDArray[np.float32], pair: NDArray[Any]) -> NDArray[np.float32]:
        parts = (x[start : start + _BATCH] for start in range(0, len(x), _BATCH))
        return np.concatenate([compiled(part, np.tile(pair, (len(part), 1))).numpy() for part in parts])

    return slopes


def _margins(model: keras.Model, x: tf.Tensor | NDArray[np.float32], pairs: tf.Tensor | NDArray[Any]) -> tf.Tensor:
    """Return for each image the logit of the first digit of its pair minus that of the second, shape (n,)."""
    import tensorflow as tf

    logs = tf.math.log(tf.maximum(model(x, training=False), TINY))
    both = tf.gather(logs, pairs, axis=1, batch_dims=1)
    return both[:, 0] - both[:, 1]


@dataclass(frozen=True)
class Agreement:
    """How much the evidence of a trained network agrees with that of the same network with fresh weights.

    Both are Spearman's rank correlations over the pixels that differ from a baseline: -1 to 1, or NaN if all the evidence of
    one network is equal. 0 is good: then the evidence shows what the network learned.

    Attributes
    ----------
    absolute : float array, shape (n,)
        Of the absolute values. It is above 0 for every network, because both networks' evidence is multiplied by the same
        difference of pixel and baseline: about 0.6 for the reference model, whose signed one is about 0.
    signed : float array, shape (n,)
        Of the evidence with its sign, to which this does not apply.
    """

    absolute: NDArray[np.float64]
    signed: NDArray[np.float64]


def agreement_with_fresh_weights(
    model: keras.Model, images: Images, predicted: ArrayLike, others: ArrayLike, baselines: Images, *, seed: int = 0
) -> Agreement:
    """Compare the evidence of a trained network with that of the same network with fresh weights: a sanity check.

    If a network that learned nothing gives the same picture, then the picture shows the image, not the network.

    Parameters
    ----------
    model, images, predicted, others, baselines
        See `integrated_gradients`. The model stays as it is.
    seed : int
        Of the fresh weights.

    References
    ----------
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim (2018), Sanity checks for saliency maps. NeurIPS.
    """
    with seeded(seed):
        fresh = keras.models.clone_model(model)
    learned, random = (
        integrated_gradients(network, images, predicted, others, baselines).pixels for network in (model, fresh)
    )
    counted = (images[:, None] != baselines[None]).any(axis=1)
    pairs = [(one[of], two[of]) for one, two, of in zip(learned, random, counted, strict=True)]
    return Agreement(
        absolute=np.array([_rank_correlation(np.abs(one), np.abs(two)) for one, two in pairs]),
        signed=np.array([_rank_correlation(one, two) for one, two in pairs]),
    )


def _rank_correlation(one: NDArray[np.float32], two: NDArray[np.float32]) -> float:
    from scipy.stats import rankdata

    first, second = (rankdata(values) - (len(values) + 1) / 2 for values in (one, two))
    size = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / size) if size > 0 else np.nan
