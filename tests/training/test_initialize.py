from __future__ import annotations

from pathlib import Path
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
def saved(tmp_path: Path) -> Path:
    keras.utils.set_random_seed(1)
    model = build.fold_temperature(build.build_model("fast"), 2.0)
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_the_weights_are_those_of_the_saved_model_before_its_calibration(saved: Path) -> None:
    keras.utils.set_random_seed(1)
    expected = build.build_model("fast").get_weights()
    model = build.build_model("fast")
    initialize.copy_weights(saved, model, temperature=2.0)
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_for_other_classes_the_last_layer_stays_fresh(saved: Path) -> None:
    model = build.build_model("fast", classes=3)
    last = model.layers[-1].get_weights()
    initialize.copy_weights(saved, model)
    old = keras.saving.load_model(saved)
    np.testing.assert_array_equal(model.layers[2].get_weights()[0], old.layers[2].get_weights()[0])
    np.testing.assert_array_equal(model.layers[-1].get_weights()[0], last[0])


def test_another_network_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"7 layers with weights, simple 3; .* allowed: a run of the same network"):
        initialize.copy_weights(saved, build.build_model("simple"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"^from: .*model.keras cannot be loaded"):
        initialize.copy_weights(tmp_path / "model.keras", build.build_model("fast"))


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
