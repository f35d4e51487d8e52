"""From a `Network` to a `keras.Model` that keeps the contract of all models: 0 to 255 in, probabilities out."""

from __future__ import annotations

import importlib
import inspect
import logging
import weakref
from collections.abc import Callable
from typing import Any

from mnist_utils import ConfigError
from mnist_utils._support.arrays import TINY
from mnist_utils._support.own_function import call_for, describe_error, with_its_folder
from mnist_utils.data.classes import DIGITS
from mnist_utils.training.backend import keras, layers, ops
from mnist_utils.training.contract import all_layers, keep_contract
from mnist_utils.training.network import Network, load_network

# In a notebook, TensorFlow would report each file that it writes.
logging.getLogger("tensorflow").setLevel(logging.WARNING)

_COLLECTS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD  # *args, **kwargs
_built: weakref.WeakSet[Any] = weakref.WeakSet()  # the layers of all models that are still alive


def build_model(
    network: Network | str,
    *,
    classes: int = len(DIGITS),
    conv_dropout: float = 0.0,
    dense_dropout: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """Build a model with fresh weights that takes (n, 28, 28, 1) values 0 to 255 and returns (n, classes) probabilities.

    Your own network may take (n, 28, 28) or (n, 784); it may leave out the rescaling to 0..1, which is then added before it,
    and the softmax, which is then added after it: `contract.describe_additions` says so. A network that scales by itself
    begins with a rescaling, a normalisation or arithmetic.

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
        _refuse_shared(made, network)
        made = made if network.built_in else keep_contract(made, network.name, classes)
        # Functional, also if it was keras.Sequential: only that one knows its input and its output from the beginning.
        return keras.Model(made.inputs[0], made.outputs[0], name=made.name)
    finally:
        keras.config.set_dtype_policy(before)


def _function_of(network: Network) -> Callable[..., Any]:
    if network.built_in:
        return importlib.import_module(f"mnist_utils.training.architectures.{network.name}").network
    return call_for(network.source, "model")


def _call(network: Network, function: Callable[..., Any], **given: Any) -> keras.Model:
    try:
        wanted = inspect.signature(function).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values())
        taken = {name: value for name, value in given.items() if takes_all or name in wanted}
        for name, parameter in wanted.items():
            if name not in given and parameter.default is parameter.empty and parameter.kind not in _COLLECTS:
                raise TypeError(f"it wants {name}; allowed without a default: {', '.join(given)}")
        made = with_its_folder(network.source, lambda: function(**taken))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"model: {describe_error(error, network.source)}") from None
    if not isinstance(made, keras.Model):
        raise ConfigError(f"model: {network.name} returned {_kind(made)}; allowed: a keras.Model with its layers")
    return made


def _refuse_shared(made: keras.Model, network: Network) -> None:
    """Refuse a model whose layers were in one that was built before: its weights may have been trained already."""
    weighted = [layer for layer in all_layers(made) if layer.weights]
    if any(layer in _built for layer in weighted):
        raise ConfigError(
            f"model: {network.name} returns the layers of an earlier call, with their weights; allowed: a function that "
            "makes new ones each time"
        )
    _built.update(weighted)


def _kind(made: Any) -> str:
    return "nothing" if made is None else f"{type(made).__module__}.{type(made).__qualname__}".removeprefix("builtins.")


# --- calibration --------------------------------------------------------------------------------------------


def ends_in_softmax(model: keras.Model) -> bool:
    """Say whether what a model returns is what one dense layer with softmax returns, whose weights scale the logits."""
    last = model.layers[-1]
    if type(last) is not layers.Dense or last.activation is not keras.activations.softmax:  # a subclass may normalise them
        return False
    calls = next(one["inbound_nodes"] for one in model.get_config()["layers"] if one["name"] == last.name)
    return model.operations[-1] is last and len(calls) == 1


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
    if ends_in_softmax(model):
        last = model.layers[-1]
        last.set_weights([weights / temperature for weights in last.get_weights()])
        return model
    if temperature == 1:
        return model
    logs = ops.log(ops.maximum(model.output, TINY))
    logits = layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(logs)
    return keras.Model(model.input, layers.Softmax(dtype="float32", name="calibrated")(logits), name=model.name)
