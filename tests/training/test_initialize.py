from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mnist_utils import ConfigError
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import build, initialize
else:
    keras = lazy("keras")
    build = lazy("mnist_utils.training.build")
    initialize = lazy("mnist_utils.training.initialize")


@pytest.fixture
def saved() -> keras.Model:
    keras.utils.set_random_seed(1)
    return build.fold_temperature(build.build_model("fast"), 2.0)


def test_the_weights_are_those_of_the_saved_model_before_its_calibration(saved: keras.Model) -> None:
    keras.utils.set_random_seed(1)
    expected = build.build_model("fast").get_weights()
    model = build.build_model("fast")
    assert initialize.copy_weights(saved, model, run="first", temperature=2.0) == ""
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_for_other_classes_the_last_layer_stays_fresh(saved: keras.Model) -> None:
    model = build.build_model("fast", classes=3)
    last = model.layers[-1].get_weights()
    note = initialize.copy_weights(saved, model, run="first")
    assert note == "from: the last layer starts with fresh weights, as first has 10 classes and this training 3"
    np.testing.assert_array_equal(model.layers[2].get_weights()[0], saved.layers[2].get_weights()[0])
    np.testing.assert_array_equal(model.layers[-1].get_weights()[0], last[0])


def test_another_network_is_refused(saved: keras.Model) -> None:
    with pytest.raises(ConfigError, match=r"first has 7 layers with weights, simple 3; .* allowed: a run of the same"):
        initialize.copy_weights(saved, build.build_model("simple"), run="first")


def test_frozen_layers_keep_their_weights() -> None:
    keras.backend.clear_session()
    model = build.build_model("fast")
    initialize.freeze_layers(model, "conv*, batch_normalization")
    assert [layer.name for layer in model.layers if layer.weights and layer.trainable] == [
        "batch_normalization_1", "dense", "batch_normalization_2", "probabilities"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("nosuch", "given 'nosuch', which no layer is called; allowed: conv2d.*, probabilities, or patterns"),
        ("*", r"given \*; allowed: at least one layer must be left to train"),
    ],
)
def test_what_cannot_be_frozen(patterns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        initialize.freeze_layers(build.build_model("fast"), patterns)
