"""From a `Network` to a `keras.Model` that keeps the contract of all models: 0 to 255 in, probabilities out."""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support.own_function import call_for, describe_error, with_its_folder
from mnist_utils.data.classes import DIGITS
from mnist_utils.training.backend import keras, layers, ops
from mnist_utils.training.network import Network, load_network

# In a notebook, TensorFlow would report each file that it writes.
logging.getLogger("tensorflow").setLevel(logging.WARNING)

_SCALES_ITSELF = ("Rescaling", "Normalization", "BatchNormalization", "LayerNormalization", "Lambda")
_SHAPES_ONLY = ("InputLayer", "Reshape", "Flatten", "ZeroPadding2D", "Resizing", "Cast", "Permute")
_NOTES = {
    "added_rescaling": "it does not scale its input, so the values that it gets are divided by 255",
    "added_softmax": "it returns logits, so a softmax follows",
}


def build_model(
    network: Network | str,
    *,
    classes: int = len(DIGITS),
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """Build a model with fresh weights that takes (n, 28, 28, 1) values 0 to 255 and returns (n, classes) probabilities.

    Your own network may take (n, 28, 28); it may leave out the rescaling to 0..1, which is then added before it, and the
    softmax, which is then added after it: `describe_additions` says so. A network that scales by itself begins with a
    rescaling, a normalisation or arithmetic.

    Parameters
    ----------
    network : Network or str
        See `load_network`.
    classes : int
        How many there are to tell apart, 2 or more.
    conv_dropout, dense_dropout : float
        Share of the activations dropped in training, after convolutions and in the dense layers; 0 to below 1.
    precision : {"float32", "mixed_bfloat16"}
        Arithmetic inside the model; weights and the built-in networks' probabilities are always float32.

    Raises
    ------
    ConfigError
        If there is no such network, its file or function raises an error (the message names its line), or what it returns
        is no such model.
    """
    network = load_network(network)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        function = _function_of(network)
        made = _call(network, function, classes=classes, conv_dropout=conv_dropout, dense_dropout=dense_dropout)
        made = made if network.built_in else _keep_contract(network, made, classes)
        # Functional, also if it was keras.Sequential: only that one knows its input and its output from the beginning.
        return keras.Model(made.inputs[0], made.outputs[0], name=made.name)
    finally:
        keras.config.set_dtype_policy(before)


def describe_additions(model: keras.Model) -> list[str]:
    """Say what `build_model` added to your own network, and what of it cannot be loaded without its code."""
    found = [note for name, note in _NOTES.items() if any(layer.name == name for layer in model.layers)]
    own = sorted({type(layer).__name__ for layer in all_layers(model) if not type(layer).__module__.startswith("keras.")})
    own += ["Lambda"] * any(isinstance(layer, layers.Lambda) for layer in all_layers(model))
    if own:
        found.append(
            f"its {', '.join(own)} cannot be loaded without running code: predict, serve and evaluate work, as model.tflite "
            "needs none; export and the evidence of error analysis, which load model.keras, do not"
        )
    return found


def _function_of(network: Network) -> Callable[..., Any]:
    if network.built_in:
        return importlib.import_module(f"mnist_utils.training.architectures.{network.name}").network
    return call_for(network.source, "model")


def _call(network: Network, function: Callable[..., Any], **given: Any) -> keras.Model:
    try:
        wanted = inspect.signature(function).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values())
        taken = {name: value for name, value in given.items() if takes_all or name in wanted}
        made = with_its_folder(network.source, lambda: function(**taken))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model: {describe_error(error, network.source)}") from None
    if not isinstance(made, keras.Model):
        raise ConfigError(f"model: {network.name} returned {_kind(made)}; allowed: a keras.Model with its layers")
    return made


def _keep_contract(network: Network, made: keras.Model, classes: int) -> keras.Model:
    try:
        if not made.built:
            with warnings.catch_warnings(action="ignore"):  # of a subclass without `build`, which is refused below
                made.build((None, 28, 28, 1))
        takes, returns = made.input_shape, made.output_shape
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"model: {network.name} has no input of a known shape; allowed: keras.Sequential, beginning with "
            "keras.Input((28, 28, 1)), or keras.Model(inputs, outputs)"
        ) from None
    if takes not in ((None, 28, 28, 1), (None, 28, 28)) or returns != (None, classes):
        raise ConfigError(
            f"model: {network.name} takes {takes} and returns {returns}; allowed: (None, 28, 28, 1) or (None, 28, 28), and "
            f"(None, {classes}): a value for each of {classes} classes"
        )
    before = [] if _scales(made) else [layers.Rescaling(1 / 255, name="added_rescaling")]
    before += [layers.Reshape((28, 28), name="added_reshape")] if takes == (None, 28, 28) else []
    after = [] if _is_softmax(network, made) else [layers.Softmax(dtype="float32", name="added_softmax")]
    if not before and not after:
        return made
    inputs = x = keras.Input((28, 28, 1), name="image")
    for layer in [*before, made, *after]:
        x = layer(x)
    return keras.Model(inputs, x, name=made.name)


def _scales(made: keras.Model) -> bool:
    """Say whether the first thing that a network does with the values is to scale them."""
    for layer in getattr(made, "operations", made.layers):  # operations: of a functional model, with arithmetic
        if isinstance(layer, keras.Model):
            return _scales(layer)
        kind = type(layer).__name__
        if kind not in _SHAPES_ONLY:
            return kind in _SCALES_ITSELF or not isinstance(layer, layers.Layer)
    return False


def _is_softmax(network: Network, made: keras.Model) -> bool:
    """Say whether a network returns probabilities; what it returns for noise tells."""
    noise = np.random.default_rng(0).integers(0, 256, (8, *made.input_shape[1:])).astype(np.float32)
    found = np.asarray(ops.convert_to_numpy(made(noise, training=False)), np.float32)
    if np.allclose(found.sum(axis=1), 1, atol=1e-2) and found.min() >= 0:
        return True
    last = getattr(getattr(made.layers[-1], "activation", None), "__name__", "linear")
    if last not in ("linear", "softmax"):
        raise ConfigError(f"model: the last activation of {network.name} is {last}; allowed: softmax, or none (logits)")
    return False


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """List a model's layers, those of models inside it among them."""
    parts = ((all_layers(layer) if isinstance(layer, keras.Model) else [layer]) for layer in model.layers)
    return [layer for part in parts for layer in part]


def _kind(made: Any) -> str:
    return "nothing" if made is None else f"{type(made).__module__}.{type(made).__qualname__}".removeprefix("builtins.")


# --- calibration --------------------------------------------------------------------------------------------


def fold_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """Return a model whose logits are divided by a temperature.

    Parameters
    ----------
    model : keras.Model
        It returns probabilities. If its last layer is dense with softmax, that layer's weights are scaled, in place; else
        two layers are added that do the same to the logarithm of the probabilities.
    temperature : float, above 0
        See `evaluation.calibration.fit_temperature`.
    """
    last = model.layers[-1]
    if isinstance(last, layers.Dense) and last.activation is keras.activations.softmax:
        last.set_weights([weights / temperature for weights in last.get_weights()])
        return model
    if temperature == 1:
        return model
    logits = layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(ops.log(model.output))
    return keras.Model(model.input, layers.Softmax(dtype="float32", name="calibrated")(logits), name=model.name)
