"""The architectures: each is a plain function from the number of classes and two dropout rates to a `keras.Model`.

Each model takes (n, 28, 28, 1) values from 0 to 255, white on black, and returns (n, classes) probabilities. Scaling is its
first layer, so that training and serving cannot differ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from mnist_utils import ConfigError
from mnist_utils.training.backend import keras, layers

# In a notebook, TensorFlow would report each file that it writes.
logging.getLogger("tensorflow").setLevel(logging.WARNING)


def build_model(
    name: str,
    *,
    classes: int = 10,
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """Build a model with fresh weights.

    Parameters
    ----------
    name : {"fast", "accurate", "simple", "branched"}
    classes : int
        How many there are to tell apart, 2 or more.
    conv_dropout, dense_dropout : float
        Share of the activations dropped in training, after convolutions and in the dense layers; 0 to below 1.
    precision : {"float32", "mixed_bfloat16"}
        Arithmetic inside the model; weights and probabilities are always float32.

    Raises
    ------
    ConfigError
        If there is no architecture of that name.
    """
    if name not in _NETWORKS:
        raise ConfigError(f"model: given {name!r}; allowed: {', '.join(_NETWORKS)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return _NETWORKS[name](classes, conv_dropout, dense_dropout)
    finally:
        keras.config.set_dtype_policy(before)


def fold_temperature(model: keras.Model, temperature: float) -> None:
    """Divide a model's logits by a temperature, by scaling the weights of its last layer.

    Parameters
    ----------
    model : keras.Model
        Its last layer must be dense with softmax, as from `build_model`. It is changed in place.
    temperature : float, above 0
        See `evaluation.calibration.fit_temperature`.
    """
    last = model.layers[-1]
    last.set_weights([weights / temperature for weights in last.get_weights()])


def _input() -> keras.KerasTensor:
    return keras.Input((28, 28, 1), name="image")


def _classify(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    # float32: bfloat16 has too few digits for probabilities near 0 and 1.
    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)


def _norm_relu_drop(x: keras.KerasTensor, dropout: float, *, momentum: float = 0.99) -> keras.KerasTensor:
    # `momentum`: of the running mean and variance used for prediction; with 0.99 they need some hundred steps to settle.
    return layers.Dropout(dropout)(layers.ReLU()(layers.BatchNormalization(momentum=momentum)(x)))


def fast(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Build two strided convolutions and a dense layer, batch-normalised, 154,690 parameters: quickest to 99.2 %."""
    inputs = _input()
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in 24, 32:
        # A stride instead of pooling: a quarter of the positions to compute, and no gradient of a maximum.
        x = _norm_relu_drop(layers.Conv2D(filters, 5, strides=2, use_bias=False)(x), conv_dropout, momentum=0.9)
    x = _norm_relu_drop(layers.Dense(256, use_bias=False)(layers.Flatten()(x)), dense_dropout, momentum=0.9)
    return keras.Model(inputs, _classify(x, classes), name="fast")


def accurate(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Build six batch-normalised convolutions, two of them strided, 312,154 parameters; to be used with augmentation."""
    inputs = _input()
    x = layers.Rescaling(1 / 255)(inputs)
    for filters, strides in (16, 1), (32, 2), (64, 1), (64, 1), (96, 2), (96, 1):
        padding = "same" if strides == 2 else "valid"
        x = layers.Conv2D(filters, 3, strides=strides, padding=padding, use_bias=False)(x)
        x = _norm_relu_drop(x, conv_dropout, momentum=0.9)
    x = _norm_relu_drop(layers.Dense(128, use_bias=False)(layers.Flatten()(x)), dense_dropout, momentum=0.9)
    return keras.Model(inputs, _classify(x, classes), name="accurate")


def simple(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Build the network of the earlier "dockerised CNN", 1,386,506 parameters; the original had no dropout."""
    inputs = _input()
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Dropout(conv_dropout)(layers.MaxPooling2D()(layers.Conv2D(64, 3, activation="relu")(x)))
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, _classify(layers.Dropout(dense_dropout)(x), classes), name="simple")


def branched(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Build the network of the earlier "training and inference", 25.9 million parameters: two parallel branches."""
    inputs = _input()
    x = layers.Rescaling(1 / 255, offset=-0.5)(inputs)
    x = layers.MaxPooling2D()(_norm_relu_drop(layers.Conv2D(32, 3, padding="same")(x), conv_dropout))
    branches = []
    for _ in range(2):
        branch = layers.MaxPooling2D()(_norm_relu_drop(layers.Conv2D(64, 3, padding="same")(x), conv_dropout))
        branches.append(_norm_relu_drop(layers.Conv2D(256, 3, padding="same")(branch), conv_dropout))
    x = layers.Flatten()(layers.Dropout(conv_dropout)(layers.Concatenate()(branches)))
    for units in 1000, 500:
        x = _norm_relu_drop(layers.Dense(units)(x), dense_dropout)
    return keras.Model(inputs, _classify(x, classes), name="branched")


_NETWORKS: dict[str, Callable[[int, float, float], keras.Model]] = {
    "fast": fast,
    "accurate": accurate,
    "simple": simple,
    "branched": branched,
}
