from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics.pairwise import euclidean_distances

from mnist_utils.data.datasets import load_dataset
from tests.evaluation.linear import linear_model
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.evaluation import attribution, evidence, flips
    from mnist_utils.training import build
else:
    keras = lazy("keras")
    attribution = lazy("mnist_utils.evaluation.attribution")
    evidence = lazy("mnist_utils.evaluation.evidence")
    flips = lazy("mnist_utils.evaluation.flips")
    build = lazy("mnist_utils.training.build")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return load_dataset("digits").x_test[:12]


def test_features_are_of_the_last_layers_input(images: np.ndarray) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model("fast")
    found = attribution.penultimate_features(model, images)
    assert found.shape == (12, 256)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    again = attribution.penultimate_features(model, images[::-1])
    np.testing.assert_allclose(again[::-1], found, atol=1e-6)


def test_logits_are_what_the_softmax_takes(images: np.ndarray) -> None:
    model, weights, bias = linear_model()
    wanted = images.reshape(12, -1) / 255 @ weights + bias
    np.testing.assert_allclose(attribution.model_logits(model, images), wanted, atol=1e-4)
    added = keras.Sequential([model, keras.layers.Rescaling(3.0), keras.layers.Softmax()])
    added = keras.Model(added.inputs[0], added.outputs[0])
    np.testing.assert_allclose(attribution.model_logits(added, images), 3 * softmax(wanted, axis=1), atol=1e-4)
    other = keras.Model(model.input, keras.layers.Activation("softmax")(model.output))
    np.testing.assert_allclose(np.exp(attribution.model_logits(other, images)), other(images[..., None]), atol=1e-5)


def test_nearest_by_features_agrees_with_euclidean_distances() -> None:
    random = np.random.default_rng(0)
    known, queries = random.normal(size=(50, 8)).astype(np.float32), random.normal(size=(6, 8)).astype(np.float32)
    indices, distances = attribution.nearest_by_features(known, queries, 4)
    wanted = euclidean_distances(queries, known)
    np.testing.assert_array_equal(indices, wanted.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=1e-5)


def test_explanations_combine_evidence_neighbours_and_flips(images: np.ndarray) -> None:
    model, _, _ = linear_model()
    known = load_dataset("digits").x_train[:100], load_dataset("digits").y_train[:100]
    features = attribution.penultimate_features(model, known[0])
    found = attribution.explain_predictions(model, images, np.full(12, 4), np.full(12, 7), (*known, features), k=2)
    assert [(one.predicted, one.other) for one in found] == [(4, 7)] * 12
    changes = flips.deepfool(model, images)
    wanted = evidence.integrated_gradients(model, images, np.full(12, 4), np.full(12, 7), evidence.choose_baselines(*known))
    indices, _ = attribution.nearest_by_features(features, attribution.penultimate_features(model, images), 2)
    for i, one in enumerate(found):
        np.testing.assert_array_equal(one.image, images[i])
        np.testing.assert_allclose(one.evidence, wanted.pixels[i], atol=1e-6)
        assert one.evidence.sum() == pytest.approx(one.margin - one.baseline_margin + one.completeness_error, abs=1e-4)
        np.testing.assert_array_equal(one.neighbours, known[0][indices[i]])
        np.testing.assert_array_equal(one.neighbour_labels, known[1][indices[i]])
        np.testing.assert_array_equal(one.changed, changes.images[i])
        assert one.changed_prediction == changes.predicted[i]
        assert one.l2_norm == changes.l2_norms[i]
