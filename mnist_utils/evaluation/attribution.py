"""Explain predictions: similar training images, with the pixels that decided and the smallest change that flips each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mnist_utils._support.arrays import TINY, Images
from mnist_utils.evaluation.evidence import choose_baselines, integrated_gradients
from mnist_utils.evaluation.flips import deepfool
from mnist_utils.training.backend import keras, layers
from mnist_utils.training.build import ends_in_softmax

Floats = NDArray[np.float32]


def penultimate_features(model: keras.Model, images: Images) -> Floats:
    """Return the input of the model's last layer, normalised to length 1; float32, shape (n, units).

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28), n > 0
    """
    found = _in_parts(keras.Model(model.input, model.layers[-1].input), images)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def model_logits(model: keras.Model, images: Images) -> Floats:
    """Return what a model's softmax is computed from; float32, shape (n, classes).

    Where the model does not end in a softmax, it is the logarithm of its probabilities, whose log-sum-exp is 0.

    Parameters
    ----------
    model : keras.Model
    images : uint8 array, shape (n, 28, 28), n > 0
    """
    last = model.layers[-1]
    if ends_in_softmax(model):
        weights, *bias = last.get_weights()
        return np.asarray(sum(bias, _in_parts(keras.Model(model.input, last.input), images) @ weights))
    if isinstance(last, layers.Softmax):
        return _in_parts(keras.Model(model.input, last.input), images)
    return np.log(np.maximum(_in_parts(model, images), np.float32(TINY)))


def _in_parts(model: keras.Model, images: Images) -> Floats:
    parts = (images[start : start + 1000, ..., None] for start in range(0, len(images), 1000))
    # Not with `predict`, which would compile a graph in each call.
    return np.concatenate([np.asarray(model(part, training=False), np.float32) for part in parts])


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
        Above 0 if a pixel is evidence for `predicted`, below 0 if it is evidence for `other`, in nat.
    margin, baseline_margin, completeness_error : float
        The evidence sums to `margin - baseline_margin + completeness_error`, in nat; see `evidence.Evidence`.
    neighbours, neighbour_labels : uint8 array, shape (k, 28, 28), and integer array, shape (k,)
        The training images most similar to it for the model, the nearest first.
    changed, changed_prediction, l2_norm : uint8 array, shape (28, 28); int; float
        The smallest change found that flips the prediction, see `flips.Perturbations`. The L2 norm is in white pixels, and
        infinite if no flip was found.
    """

    image: Images
    predicted: int
    other: int
    evidence: Floats
    margin: float
    baseline_margin: float
    completeness_error: float
    neighbours: Images
    neighbour_labels: NDArray[Any]
    changed: Images
    changed_prediction: int
    l2_norm: float


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
        The predicted digit, and the digit to compare it with.
    known : (uint8 array of shape (m, 28, 28), integer array of shape (m,), float32 array of shape (m, units))
        Training images, their labels, and their `penultimate_features`. The baselines of the evidence are chosen from them.
    k : int
        Neighbours of each image.
    """
    x_known, y_known, features = known
    indices, _ = nearest_by_features(features, penultimate_features(model, images), k)
    evidence = integrated_gradients(model, images, predicted, others, choose_baselines(x_known, y_known))
    flips = deepfool(model, images)
    return [
        Attribution(
            image=images[i],
            predicted=int(digit),
            other=int(other),
            evidence=evidence.pixels[i],
            margin=float(evidence.margins[i]),
            baseline_margin=float(evidence.baseline_margins[i]),
            completeness_error=float(evidence.completeness_errors[i]),
            neighbours=x_known[indices[i]],
            neighbour_labels=y_known[indices[i]],
            changed=flips.images[i],
            changed_prediction=int(flips.predicted[i]),
            l2_norm=float(flips.l2_norms[i]),
        )
        for i, (digit, other) in enumerate(zip(np.asarray(predicted), np.asarray(others), strict=True))
    ]
