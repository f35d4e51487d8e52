"""The smallest change found of an image that flips its prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_utils._support.arrays import TINY, Images
from mnist_utils.training.backend import keras

if TYPE_CHECKING:
    import tensorflow as tf

_Rivals = Callable[[NDArray[Any]], tuple[NDArray[np.float32], ...]]
_BATCH = 100  # images searched at once
_MOST_RIVALS = 9  # the most probable other classes: with ten digits all; the paper's code does the same
_PART, _NEAR = 0.3, 12.0  # of a distance; grey levels. Full steps end 1.8 times as far away, as no model is linear
_GROWTH = 1.05  # of the change to be rounded, from one attempt to the next
_LEAST_GROWTH, _MOST_GROWTH = 0.7, 100.0  # the changes of some mistakes are less than half a grey level in every pixel


@dataclass(frozen=True)
class Perturbations:
    """The smallest changes found that flip predictions.

    Attributes
    ----------
    images : uint8 array, shape (n, 28, 28)
        The changed images, in whole grey levels; an image for which no flip was found is as it was.
    predicted : integer array, shape (n,)
        The digits predicted for `images`.
    flipped : bool array, shape (n,)
        Whether the prediction changed.
    l2_norms : float array, shape (n,)
        L2 norm of the change of `images`, in white pixels: the norm of the grey levels divided by 255, so that 1 is one
        pixel from black to white. Infinite if no flip was found. Those of correctly predicted images say what is large and
        what is small.
    """

    images: Images
    predicted: NDArray[np.intp]
    flipped: NDArray[np.bool_]
    l2_norms: NDArray[np.float64]


def deepfool(model: keras.Model, images: Images, *, most_steps: int = 50) -> Perturbations:
    """Find small changes of images that change their predictions.

    Each step goes towards the nearest decision boundary between the prediction and another digit, as if the model were
    linear there: a third of the way, and across when near. Pixels stay from black to white. The change found is scaled, from
    0.7 to at most 100 times, until the image flips after rounding to whole grey levels. The norm is an upper bound: a
    smaller change may exist. A hundred MNIST images take about 10 s on two cores.

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
    changed, labels, before = images.copy(), np.zeros(len(images), np.intp), np.zeros(len(images), np.intp)
    rivals = _compiled_rivals(model)
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        old = images[part, ..., None].astype(np.float32)
        before[part] = _predicted_labels(model, old)
        new = _rounded(model, old, _cross(model, rivals, old, before[part], most_steps), before[part])
        changed[part], labels[part] = new[..., 0].astype(np.uint8), _predicted_labels(model, new)
    moved = (changed.astype(np.float64) - images) / 255
    flipped = labels != before
    return Perturbations(changed, labels, flipped, np.where(flipped, np.sqrt((moved**2).sum(axis=(1, 2))), np.inf))


def _cross(
    model: keras.Model, rivals: _Rivals, start: NDArray[Any], first: NDArray[np.intp], most_steps: int
) -> NDArray[np.float32]:
    """Return images just behind the nearest decision boundary, not rounded; those not found wherever the search ended."""
    x = start.copy()
    for _ in range(most_steps):
        left = np.flatnonzero(_predicted_labels(model, x) == first)
        if len(left) == 0:
            break
        behind, slopes = rivals(x[left])
        at = x[left, None]
        slopes *= ~((at <= 0) & (slopes < 0) | (at >= 255) & (slopes > 0))  # no pixel gets darker than black
        norms = np.sqrt((slopes**2).sum(axis=(2, 3, 4))) + 1e-12
        distances, rows = np.abs(behind) / norms, np.arange(len(left))
        nearest = distances.argmin(axis=1)
        distance = 1.02 * distances[rows, nearest]
        distance = np.where(distance > _NEAR, np.maximum(_PART * distance, _NEAR), distance)
        reach = (distance / norms[rows, nearest] + 1e-4)[:, None, None, None]
        x[left] = np.clip(x[left] + reach * slopes[rows, nearest], 0, 255)
    return np.asarray(x, np.float32)


def _compiled_rivals(model: keras.Model) -> _Rivals:
    """Return a function of images, shape (n, 28, 28, 1).

    It returns each rival's logit minus the predicted digit's, shape (n, k), and its gradient, shape (n, k, 28, 28, 1).
    """
    import tensorflow as tf

    def rivals(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            logs = tf.math.log(tf.maximum(model(x, training=False), TINY))
            best = tf.math.top_k(logs, min(_MOST_RIVALS + 1, logs.shape[1])).indices
            ranked = tf.gather(logs, best, axis=1, batch_dims=1)
            behind = tf.unstack(ranked[:, 1:] - ranked[:, :1], axis=1)
        return tf.stack(behind, axis=1), tf.stack([tape.gradient(rival, x) for rival in behind], axis=1)

    # Compiled, the search takes half the time.
    compiled = tf.function(rivals, input_signature=[tf.TensorSpec((None, 28, 28, 1))], autograph=False)
    return lambda x: tuple(part.numpy() for part in compiled(x))


def _rounded(model: keras.Model, old: NDArray[Any], new: NDArray[Any], first: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return `new` in whole grey levels, its change grown until it flips; `old` where that is not found."""
    found, left, growth = old.copy(), np.flatnonzero(_predicted_labels(model, new) != first), _LEAST_GROWTH
    while len(left) and growth <= _MOST_GROWTH:
        tried = np.rint(np.clip(old[left] + growth * (new[left] - old[left]), 0, 255))
        flips = _predicted_labels(model, tried) != first[left]
        found[left[flips]] = tried[flips]
        left, growth = left[~flips], growth * _GROWTH
    return np.asarray(found, np.float32)


def _predicted_labels(model: keras.Model, x: NDArray[Any]) -> NDArray[np.intp]:
    return np.asarray(model(x, training=False)).argmax(axis=1)
