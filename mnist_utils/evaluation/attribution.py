"""Why did it answer that? The pixels that decided, the training images it resembles, the least change that flips it."""

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

_TINY = 1e-30  # a probability whose logarithm float32 still holds


def integrated_gradients(
    model: keras.Model, images: Images, answers: ArrayLike, others: ArrayLike, steps: int = 32
) -> Floats:
    """Say how much each pixel spoke for one digit and against another.

    What is explained is the difference of the two digits' logits, against that of a black image; all pixels together
    make up this difference, up to the error of the integral.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    answers, others : integer array, shape (n,)
        The digit that was answered, and the one that it is compared with.
    steps : int
        Points of the integral (Gauss and Legendre's).

    Returns
    -------
    float32 array, shape (n, 28, 28)
        Above 0 where a pixel speaks for `answers`, in nat.

    References
    ----------
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks. ICML.
    """
    import tensorflow as tf

    x = tf.constant(images[..., None], tf.float32)
    pairs = np.stack([np.asarray(answers), np.asarray(others)], axis=1)
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
    """Return for each image the logit of its first digit minus that of its second, shape (n,)."""
    import tensorflow as tf

    logs = tf.math.log(tf.maximum(model(x, training=False), _TINY))
    both = tf.gather(logs, tf.constant(pairs), axis=1, batch_dims=1)
    return both[:, 0] - both[:, 1]


@dataclass(frozen=True)
class Perturbations:
    """The least changes found that flip answers.

    Attributes
    ----------
    images : float32 array, shape (n, 28, 28)
        Changed, 0 to 255.
    answers : integer array, shape (n,)
        To the changed images.
    flipped : bool array, shape (n,)
        Whether the answer is another one now; False where none was found.
    sizes : float array, shape (n,)
        Root of the summed squares of the change, in units of a pixel from black to white.
    """

    images: Floats
    answers: NDArray[np.intp]
    flipped: NDArray[np.bool_]
    sizes: NDArray[np.float64]


def deepfool(model: keras.Model, images: Images, *, most_steps: int = 30) -> Perturbations:
    """Find small changes of images that change their answers.

    Step by step towards the nearest border between the answer and another digit, as it would be if the network were
    linear there. An upper bound: a smaller change may exist. The changed images are not of whole greys: rounded, many of
    them would not be flipped any more.

    Parameters
    ----------
    model : keras.Model
        Takes (n, 28, 28, 1) values from 0 to 255 and returns probabilities.
    images : uint8 array, shape (n, 28, 28)
    most_steps : int
        After which an image is given up.

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
        slopes = tape.batch_jacobian(logs, at, experimental_use_pfor=False).numpy()  # (left, 10, 28, 28, 1)
        now, here = first[left], rows[: len(left)]
        logits = logs.numpy()
        behind = logits - logits[here, now, None]
        slopes = slopes - slopes[here, now][:, None]
        norms = np.sqrt((slopes**2).sum(axis=(2, 3, 4))) + 1e-12
        distances = np.where(np.arange(10) == now[:, None], np.inf, np.abs(behind) / norms)
        nearest = distances.argmin(axis=1)
        reach = (distances[here, nearest] / norms[here, nearest] * 1.02 + 1e-4)[:, None, None, None]
        x[left] = np.clip(x[left] + reach * slopes[here, nearest], 0, 255)
    last = _predicted_labels(model, x)
    sizes = np.sqrt((((x - start) / 255).astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    return Perturbations(x[..., 0], last, last != first, sizes)


def _predicted_labels(model: keras.Model, x: Floats) -> NDArray[np.intp]:
    return np.asarray(model(x, training=False)).argmax(axis=1)


def penultimate_features(model: keras.Model, images: Images) -> Floats:
    """Return what the network's last layer decides on: float32, shape (n, units), each of length 1.

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28), n > 0
    """
    before = keras.Model(model.input, model.layers[-1].input)
    parts = (images[start : start + 1000, ..., None] for start in range(0, len(images), 1000))
    # Not by `predict`, which would compile a graph for each call.
    found = np.concatenate([np.asarray(before(part, training=False), np.float32) for part in parts])
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def nearest_by_features(known: Floats, asked: Floats, k: int = 5) -> tuple[NDArray[np.intp], Floats]:
    """Find for each row of `asked` the `k` nearest of `known`: their indices and distances, the nearest first.

    Parameters
    ----------
    known : float array, shape (n, units), n >= k
    asked : float array, shape (m, units)
        See `penultimate_features`.

    Returns
    -------
    indices : integer array, shape (m, k)
    distances : float array, shape (m, k), 0 (the same direction) to 2 (the opposite one)
    """
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known).kneighbors(asked)
    return indices, distances.astype(np.float32)


@dataclass(frozen=True)
class Attribution:
    """Why a network answered as it did to one image.

    Attributes
    ----------
    image : uint8 array, shape (28, 28)
    answer, other : int
        The digit that was answered, and the one that it is compared with.
    evidence : float32 array, shape (28, 28)
        See `integrated_gradients`.
    neighbours, neighbour_labels : uint8 array, shape (k, 28, 28), and integer array, shape (k,)
        The training images that are most like it to the network, the nearest first.
    changed, changed_answer, change : float32 array, shape (28, 28); int; float
        See `Perturbations`; `change` is infinite where no flip was found.
    """

    image: Images
    answer: int
    other: int
    evidence: Floats
    neighbours: Images
    neighbour_labels: NDArray[Any]
    changed: Floats
    changed_answer: int
    change: float


def explain_predictions(
    model: keras.Model,
    images: Images,
    answers: ArrayLike,
    others: ArrayLike,
    known: tuple[Images, NDArray[Any], Floats],
    k: int = 3,
) -> list[Attribution]:
    """Explain answers, one by one.

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28)
    answers, others : integer array, shape (n,)
        See `integrated_gradients`.
    known : (uint8 array of shape (m, 28, 28), integer array of shape (m,), float32 array of shape (m, units))
        Training images, their labels, and their `penultimate_features`.
    k : int
        Neighbours to find for each.
    """
    x_known, y_known, seen = known
    indices, _ = nearest_by_features(seen, penultimate_features(model, images), k)
    evidence, flips = integrated_gradients(model, images, answers, others), deepfool(model, images)
    return [
        Attribution(
            image=images[i],
            answer=int(answer),
            other=int(other),
            evidence=evidence[i],
            neighbours=x_known[indices[i]],
            neighbour_labels=y_known[indices[i]],
            changed=flips.images[i],
            changed_answer=int(flips.answers[i]),
            change=float(flips.sizes[i]) if flips.flipped[i] else np.inf,
        )
        for i, (answer, other) in enumerate(zip(np.asarray(answers), np.asarray(others), strict=True))
    ]
