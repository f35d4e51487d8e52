from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from mnist_utils import ConfigError
from mnist_utils.training.network import NAMES, load_network
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import build, contract
else:
    keras = lazy("keras")
    build = lazy("mnist_utils.training.build")
    contract = lazy("mnist_utils.training.contract")


@pytest.mark.parametrize(("name", "parameters"), [("fast", 154_690), ("accurate", 312_154), ("simple", 1_386_506)])
def test_parameters(name: str, parameters: int) -> None:
    assert build.build_model(name).count_params() == parameters


def test_branched_has_the_described_layers() -> None:
    def norm(channels: int) -> int:
        return 4 * channels

    stem = 9 * 32 + 32 + norm(32)
    branch = 9 * 32 * 64 + 64 + norm(64) + 9 * 64 * 256 + 256 + norm(256)
    dense = 25_088 * 1000 + 1000 + norm(1000) + 1000 * 500 + 500 + norm(500) + 500 * 10 + 10
    assert build.build_model("branched").count_params() == stem + 2 * branch + dense


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_temperature_divides_the_logits(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model(name)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    before = model.predict(images, verbose=0).astype(np.float64)
    build.fold_temperature(model, 2.5)
    np.testing.assert_allclose(model.predict(images, verbose=0), softmax(np.log(before) / 2.5, axis=1), atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_takes_0_to_255_and_returns_float32_probabilities(name: str, precision: str) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model(name, precision=precision)
    assert model.input_shape == (None, 28, 28, 1)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    probabilities = keras.ops.convert_to_numpy(model(images, training=False))
    assert probabilities.shape == (3, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_a_layer(name: str) -> None:
    rescaling = [layer for layer in build.build_model(name).layers if isinstance(layer, keras.layers.Rescaling)]
    assert [layer.scale for layer in rescaling] == [1 / 255]
    assert [layer.offset for layer in rescaling] == [-0.5 if name == "branched" else 0]


@pytest.mark.parametrize("name", NAMES)
def test_both_dropouts_apply(name: str) -> None:
    rates = {
        layer.rate for layer in build.build_model(name, conv_dropout=0.1, dense_dropout=0.4).layers if hasattr(layer, "rate")
    }
    assert rates == {0.1, 0.4}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["conv_dropout", "dense_dropout"])
def test_each_dropout_drops_in_training_and_only_there(name: str, kind: str) -> None:
    keras.utils.set_random_seed(0)
    model = build.build_model(name, **{kind: 0.5})  # type: ignore[arg-type]
    for layer in model.layers:  # it also behaves differently in training
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    first, second, trained = (keras.ops.convert_to_numpy(model(images, training=on)) for on in (False, False, True))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - trained).max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_has_no_layer_that_runs_code_on_load(name: str) -> None:
    assert not [layer for layer in build.build_model(name).layers if isinstance(layer, keras.layers.Lambda)]


def test_tensorflow_does_not_report_each_file_in_a_notebook() -> None:
    assert logging.getLogger("tensorflow").level == logging.WARNING


def test_tensorflow_does_not_warn_of_several_trainings(caplog: pytest.LogCaptureFixture) -> None:
    build.build_model("fast")  # loads Keras
    logger = logging.getLogger("tensorflow")
    with caplog.at_level(logging.WARNING, "tensorflow"):
        logger.warning("5 out of the last 7 calls to %s triggered tf.function retracing.", "f")
        logger.warning("something else")
    assert [record.getMessage() for record in caplog.records if record.name == "tensorflow"] in ([], ["something else"])


def test_building_leaves_the_global_policy_alone() -> None:
    before = keras.config.dtype_policy()
    build.build_model("fast", precision="mixed_bfloat16")
    assert keras.config.dtype_policy() == before


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match=f"given nosuch; allowed: {', '.join(NAMES)}"):
        build.build_model("nosuch")


# --- your own ------------------------------------------------------------------------------------------------


def digits(n: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28, 1)).astype(np.float32)


def logits_of_flat(classes: int) -> keras.Model:
    return keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(classes)])


def test_a_network_without_scaling_channel_and_softmax_gets_them() -> None:
    model = build.build_model(load_network(logits_of_flat), classes=3)
    assert (model.input_shape, model.output_shape) == ((None, 28, 28, 1), (None, 3))
    kernel, bias = model.get_weights()
    expected = softmax(digits().reshape(6, -1) / 255 @ kernel + bias, axis=1)
    np.testing.assert_allclose(model(digits()), expected, atol=1e-6)
    assert [note.partition(",")[0] for note in contract.describe_additions(model)] == [
        "it does not scale its input",
        "it returns logits",
    ]


def divided(classes: int) -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    return keras.Model(inputs, keras.layers.Dense(classes, "softmax")(keras.layers.Flatten()(inputs / 255.0)))


def normalised(classes: int) -> keras.Model:
    layers = keras.layers
    return keras.Sequential([keras.Input((28, 28, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(classes)])


@pytest.mark.parametrize(("function", "added"), [(divided, 0), (normalised, 1)])
def test_a_network_that_scales_is_left_alone(function: Any, added: int) -> None:
    assert len(contract.describe_additions(build.build_model(load_network(function)))) == added


def test_a_layer_of_your_own_is_named() -> None:
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    def network() -> keras.Model:
        return keras.Sequential(
            [keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255), Twice(), keras.layers.Flatten(),
             keras.layers.Dense(10, "softmax")]
        )  # fmt: skip

    (note,) = contract.describe_additions(build.build_model(load_network(network)))
    assert note.startswith("its Twice cannot be loaded without running code")


def test_it_gets_the_dropouts_that_it_takes() -> None:
    def network(classes: int, dense_dropout: float = 0.9) -> keras.Model:
        layers = keras.layers
        return keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dropout(dense_dropout, name="drop"), layers.Dense(classes)]
        )

    model = build.build_model(load_network(network), conv_dropout=0.1, dense_dropout=0.4)
    assert [layer.rate for layer in contract.all_layers(model) if layer.name == "drop"] == [0.4]


def test_the_layers_of_a_completed_network_are_its_own_and_drop_in_training() -> None:
    def network() -> keras.Model:
        layers = keras.layers
        return keras.Sequential([keras.Input((784,)), layers.Dropout(0.5, name="drop"), layers.Dense(10, name="dense")])

    model = build.build_model(load_network(network))
    names = ["image", "added_rescaling", "added_reshape", "drop", "dense", "added_softmax"]
    assert [layer.name for layer in model.layers] == names
    kept, dropped = (np.asarray(model(digits(), training=on)) for on in (False, True))
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kept, softmax(digits().reshape(6, -1) / 255 @ kernel + bias, axis=1), atol=1e-6)
    assert np.abs(kept - dropped).max() > 0.01


def test_a_folded_temperature_divides_the_logits_of_any_network() -> None:
    model = build.build_model(load_network(logits_of_flat))
    before = np.asarray(model(digits()), np.float64)
    folded = build.fold_temperature(model, 2.5)
    np.testing.assert_allclose(folded(digits()), softmax(np.log(before) / 2.5, axis=1), atol=2e-6)


FILE = """import keras
from keras import layers

start = keras.Input((28, 28, 1))


def network(classes):
    return keras.Model(start, layers.Dense(classes)(layers.Flatten()(start)))


def broken():
    return undefined


def number():
    return 3


def colour(classes):
    return keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(classes)])


def ten():
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])


def sigmoid(classes):
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(classes, "sigmoid")])


class Subclass(keras.Model):
    def call(self, x):
        return x


def subclass():
    return Subclass()


def leave():
    raise SystemExit("enough")


def wants(classes, width):
    pass
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "mine.py, line 12: NameError: name 'undefined' is not defined"),
        ("wants", "mine.py: TypeError: it wants width; allowed without a default: classes, conv_dropout, dense_dropout"),
        ("number", "mine.py:number returned int; allowed: a keras.Model"),
        ("nosuch", "has no function nosuch; it has network, broken, number, colour, ten, sigmoid, subclass, leave, wants"),
        ("colour", r"takes \(None, 32, 32, 3\) and returns \(None, 3\); allowed: \(None, 28, 28, 1\)"),
        ("ten", r"returns \(None, 10\); allowed: .* and \(None, 3\): a value for each of 3 classes"),
        ("sigmoid", "the last activation of mine.py:sigmoid is sigmoid; allowed: softmax, or none"),
        ("subclass", "mine.py:subclass has no input of a known shape; allowed: keras.Sequential, beginning with"),
        ("leave", "mine.py, line 41: SystemExit: enough"),
    ],
)
def test_a_breach_of_the_contract_is_one_line(function: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    with pytest.raises(ConfigError, match=message) as error:
        build.build_model(f"{tmp_path}/mine.py:{function}", classes=3)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("UNITS = 7\n")
    (tmp_path / "mine.py").write_text(
        "import keras, beside\n\ndef network():\n    return keras.Sequential([keras.Input((28, 28)), "
        "keras.layers.Flatten(), keras.layers.Dense(beside.UNITS), keras.layers.Dense(10)])\n"
    )
    path = list(sys.path)
    assert build.build_model(f"{tmp_path}/mine.py").count_params() == 784 * 7 + 7 + 7 * 10 + 10
    assert sys.path == path


def shared() -> keras.Model:
    return SHARED[0]


SHARED: list[Any] = []


def test_a_model_that_was_built_before_is_refused() -> None:
    SHARED[:] = [keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])]
    build.build_model(load_network(shared))
    with pytest.raises(ConfigError, match="shared returns the layers of an earlier call, with their weights"):
        build.build_model(load_network(shared))


def two_heads(classes: int) -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    heads = [keras.layers.Dense(classes, "softmax")(x) for _ in range(2)]
    return keras.Model(inputs, (heads[0] + heads[1]) / 2)


def cosine(classes: int) -> keras.Model:
    class Cosine(keras.layers.Dense):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return keras.ops.softmax(9 * keras.ops.normalize(x) @ keras.ops.normalize(self.kernel, axis=0))

    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, Cosine(classes, "softmax")(x))


@pytest.mark.parametrize("function", [two_heads, cosine])
def test_a_temperature_is_folded_into_what_the_model_returns(function: Any) -> None:
    model = build.build_model(load_network(function))
    before = np.asarray(model(digits()), np.float64)
    after = build.fold_temperature(model, 2.0)(digits())
    np.testing.assert_allclose(after, softmax(np.log(before) / 2.0, axis=1), atol=2e-6)


@pytest.mark.parametrize("kind", ["UpSampling2D", "MaxPooling2D", "Cropping2D", "ZeroPadding2D"])
def test_a_scaling_may_come_after_what_only_changes_shapes(kind: str) -> None:
    def network(classes: int) -> keras.Model:
        layers = keras.layers
        return keras.Sequential(
            [keras.Input((28, 28, 1)), getattr(layers, kind)(), layers.Rescaling(1 / 255), layers.Flatten(),
             layers.Dense(classes, "softmax")]
        )  # fmt: skip

    assert contract.describe_additions(build.build_model(load_network(network))) == []


def test_padding_by_arithmetic_is_no_scaling() -> None:
    def network(classes: int) -> keras.Model:
        inputs = keras.Input((28, 28, 1))
        x = keras.ops.pad(inputs, [[0, 0], [2, 2], [2, 2], [0, 0]])
        return keras.Model(inputs, keras.layers.Dense(classes, "softmax")(keras.layers.Flatten()(x)))

    (note,) = contract.describe_additions(build.build_model(load_network(network)))
    assert note.startswith("it does not scale its input")
