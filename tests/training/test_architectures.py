from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import softmax

from mnist_utils import ConfigError
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import architectures
else:
    keras = lazy("keras")
    architectures = lazy("mnist_utils.training.architectures")

NAMES = ("fast", "accurate", "simple", "branched")


@pytest.mark.parametrize(("name", "parameters"), [("fast", 154_690), ("accurate", 312_154), ("simple", 1_386_506)])
def test_parameters(name: str, parameters: int) -> None:
    assert architectures.build_model(name).count_params() == parameters


def test_branched_has_the_described_layers() -> None:
    def norm(channels: int) -> int:
        return 4 * channels

    stem = 9 * 32 + 32 + norm(32)
    branch = 9 * 32 * 64 + 64 + norm(64) + 9 * 64 * 256 + 256 + norm(256)
    dense = 25_088 * 1000 + 1000 + norm(1000) + 1000 * 500 + 500 + norm(500) + 500 * 10 + 10
    assert architectures.build_model("branched").count_params() == stem + 2 * branch + dense


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_temperature_divides_the_logits(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = architectures.build_model(name)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    before = model.predict(images, verbose=0).astype(np.float64)
    architectures.fold_temperature(model, 2.5)
    np.testing.assert_allclose(model.predict(images, verbose=0), softmax(np.log(before) / 2.5, axis=1), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_takes_0_to_255_and_returns_float32_probabilities(name: str, precision: str) -> None:
    keras.utils.set_random_seed(0)
    model = architectures.build_model(name, precision=precision)
    assert model.input_shape == (None, 28, 28, 1)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    probabilities = keras.ops.convert_to_numpy(model(images, training=False))
    assert probabilities.shape == (3, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_a_layer(name: str) -> None:
    rescaling = [layer for layer in architectures.build_model(name).layers if isinstance(layer, keras.layers.Rescaling)]
    assert [layer.scale for layer in rescaling] == [1 / 255]
    assert [layer.offset for layer in rescaling] == [-0.5 if name == "branched" else 0]


@pytest.mark.parametrize("name", NAMES)
def test_both_dropouts_apply(name: str) -> None:
    rates = {
        layer.rate
        for layer in architectures.build_model(name, conv_dropout=0.1, dense_dropout=0.4).layers
        if hasattr(layer, "rate")
    }
    assert rates == {0.1, 0.4}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["conv_dropout", "dense_dropout"])
def test_each_dropout_drops_in_training_and_only_there(name: str, kind: str) -> None:
    keras.utils.set_random_seed(0)
    model = architectures.build_model(name, **{kind: 0.5})  # type: ignore[arg-type]
    for layer in model.layers:  # it also behaves differently in training
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    first, second, trained = (keras.ops.convert_to_numpy(model(images, training=on)) for on in (False, False, True))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - trained).max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_has_no_layer_that_runs_code_on_load(name: str) -> None:
    assert not [layer for layer in architectures.build_model(name).layers if isinstance(layer, keras.layers.Lambda)]


def test_tensorflow_does_not_report_each_file_in_a_notebook() -> None:
    assert logging.getLogger("tensorflow").level == logging.WARNING


def test_building_leaves_the_global_policy_alone() -> None:
    before = keras.config.dtype_policy()
    architectures.build_model("fast", precision="mixed_bfloat16")
    assert keras.config.dtype_policy() == before


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="given 'nosuch'; allowed: fast, accurate, simple, branched"):
        architectures.build_model("nosuch")
