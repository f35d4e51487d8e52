"""Explain predictions: the pixels that decided, similar training images, the smallest change that flips a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import Images
from mnist_utils.training.backend import keras

if TYPE_CHECKING:
    import tensorflow as tf


Floats = NDArray[np.float32]

_TINY = 1e-30  # a probability whose logarithm is finite in float32


def integrated_gradients(
    model: keras.Model, images: Images, predicted: ArrayLike, others: ArrayLike, steps: int = 32
) -> Floats:
    """Compute each pixel's evidence for one digit and against another.

    It explains the difference of the two digits' logits, relative to a black image. The evidence of all pixels sums to this
    difference, up to the error of the integral.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    predicted, others : integer array, shape (n,)
        The predicted digit, and the digit to compare it with.
    steps : int
        Nodes of the Gauss-Legendre quadrature.

    Returns
    -------
    float32 array, shape (n, 28, 28)
        Above 0 if a pixel is evidence for `predicted`, in nat.

    References
    ----------
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks. ICML.
    """
    import tensorflow as tf

    x = tf.constant(images[..., None], tf.float32)
    pairs = np.stack([np.asarray(predicted), np.asarray(others)], axis=1)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = np.zeros(x.shape, np.float32)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        with tf.GradientTape() as tape:
            at = x * tf.constant(node, tf.float32)
            tape.watch(at)
            margin = tf.reduce_sum(_margins(model, at, pairs))
        total += weight * tape.gradient(margin, at).numpy()
    return np.asarray(total * x.numpy(), np.float32)[..., 0]


def _margins(model: keras.Model, x: tf.Tensor, pairs: NDArray[Any]) -> tf.Tensor:
    """Return for each image the logit of the first digit of its pair minus that of the second, shape (n,)."""
    import tensorflow as tf

    logs = tf.math.log(tf.maximum(model(x, training=False), _TINY))
    both = tf.gather(logs, tf.constant(pairs), axis=1, batch_dims=1)
    return both[:, 0] - both[:, 1]


@dataclass(frozen=True)
class Perturbations:
    """The smallest changes found that flip predictions.

    Attributes
    ----------
    images : float32 array, shape (n, 28, 28)
        The changed images, 0 to 255.
    predicted : integer array, shape (n,)
        The digits predicted for the changed images.
    flipped : bool array, shape (n,)
        Whether the prediction changed.
    sizes : float array, shape (n,)
        Euclidean norm of the change, where 1 is one pixel from black to white.
    """

    images: Floats
    predicted: NDArray[np.intp]
    flipped: NDArray[np.bool_]
    sizes: NDArray[np.float64]


def deepfool(model: keras.Model, images: Images, *, most_steps: int = 30) -> Perturbations:
    """Find small changes of images that change their predictions.

    Each step goes to the nearest decision boundary between the prediction and another digit, as if the model were linear
    there. The size is an upper bound: a smaller change may exist. The changed images are not rounded to whole grey
    levels; after rounding, many would not be flipped any more.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    most_steps : int
        Steps after which the search stops.

    References
    ----------
    Moosavi-Dezfooli, Fawzi and Frossard (2016), DeepFool: a simple and accurate method to fool deep neural networks. CVPR.
    """
    import tensorflow as tf

    start = images[..., None].astype(np.float32)
    x, first = start.copy(), _predicted_labels(model, start)
    rows = np.arange(len(x))
    for _ in range(most_steps):
        left = np.flatnonzero(_predicted_labels(model, x) == first)
        if len(left) == 0:
            break
        with tf.GradientTape(persistent=True) as tape:
            at = tf.constant(x[left])
            tape.watch(at)
            logs = tf.math.log(tf.maximum(model(at, training=False), _TINY))
        slopes = tape.batch_jacobian(logs, at, experimental_use_pfor=False).numpy()  # (left, classes, 28, 28, 1)
        now, here = first[left], rows[: len(left)]
        logits = logs.numpy()
        behind = logits - logits[here, now, None]
        slopes = slopes - slopes[here, now][:, None]
        norms = np.sqrt((slopes**2).sum(axis=(2, 3, 4))) + 1e-12
        distances = np.where(np.arange(logits.shape[1]) == now[:, None], np.inf, np.abs(behind) / norms)
        nearest = distances.argmin(axis=1)
        reach = (distances[here, nearest] / norms[here, nearest] * 1.02 + 1e-4)[:, None, None, None]
        x[left] = np.clip(x[left] + reach * slopes[here, nearest], 0, 255)
    last = _predicted_labels(model, x)
    sizes = np.sqrt((((x - start) / 255).astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    return Perturbations(x[..., 0], last, last != first, sizes)


def _predicted_labels(model: keras.Model, x: Floats) -> NDArray[np.intp]:
    return np.asarray(model(x, training=False)).argmax(axis=1)


def penultimate_features(model: keras.Model, images: Images) -> Floats:
    """Return the input of the model's last layer, normalised to length 1; float32, shape (n, units).

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28), n > 0
    """
    before = keras.Model(model.input, model.layers[-1].input)
    parts = (images[start : start + 1000, ..., None] for start in range(0, len(images), 1000))
    # Not with `predict`, which would compile a graph in each call.
    found = np.concatenate([np.asarray(before(part, training=False), np.float32) for part in parts])
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def nearest_by_features(known: Floats, queries: Floats, k: int = 5) -> tuple[NDArray[np.intp], Floats]:
    """Find for each row of `queries` the `k` nearest of `known`: their indices and distances, the nearest first.

    Parameters
    ----------
    known : float array, shape (n, units), n >= k
    queries : float array, shape (m, units)
        See `penultimate_features`.

    Returns
    -------
    indices : integer array, shape (m, k)
    distances : float array, shape (m, k), 0 (the same direction) to 2 (the opposite one)
    """
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known).kneighbors(queries)
    return indices, distances.astype(np.float32)


@dataclass(frozen=True)
class Attribution:
    """The explanation of one prediction.

    Attributes
    ----------
    image : uint8 array, shape (28, 28)
    predicted, other : int
        The predicted digit, and the digit it is compared with.
    evidence : float32 array, shape (28, 28)
        See `integrated_gradients`.
    neighbours, neighbour_labels : uint8 array, shape (k, 28, 28), and integer array, shape (k,)
        The training images most similar to it for the model, the nearest first.
    changed, changed_prediction, change : float32 array, shape (28, 28); int; float
        See `Perturbations`; `change` is infinite if no flip was found.
    """

    image: Images
    predicted: int
    other: int
    evidence: Floats
    neighbours: Images
    neighbour_labels: NDArray[Any]
    changed: Floats
    changed_prediction: int
    change: float


def explain_predictions(
    model: keras.Model,
    images: Images,
    predicted: ArrayLike,
    others: ArrayLike,
    known: tuple[Images, NDArray[Any], Floats],
    k: int = 3,
) -> list[Attribution]:
    """Explain predictions, one by one.

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28)
    predicted, others : integer array, shape (n,)
        See `integrated_gradients`.
    known : (uint8 array of shape (m, 28, 28), integer array of shape (m,), float32 array of shape (m, units))
        Training images, their labels, and their `penultimate_features`.
    k : int
        Neighbours of each image.
    """
    x_known, y_known, features = known
    indices, _ = nearest_by_features(features, penultimate_features(model, images), k)
    evidence, flips = integrated_gradients(model, images, predicted, others), deepfool(model, images)
    return [
        Attribution(
            image=images[i],
            predicted=int(digit),
            other=int(other),
            evidence=evidence[i],
            neighbours=x_known[indices[i]],
            neighbour_labels=y_known[indices[i]],
            changed=flips.images[i],
            changed_prediction=int(flips.predicted[i]),
            change=float(flips.sizes[i]) if flips.flipped[i] else np.inf,
        )
        for i, (digit, other) in enumerate(zip(np.asarray(predicted), np.asarray(others), strict=True))
    ]
