"""A training that starts from another run's weights, and layers whose weights stay."""

from __future__ import annotations

import fnmatch

from mnist_utils import ConfigError
from mnist_utils.training.backend import keras
from mnist_utils.training.build import ends_in_softmax, fold_temperature
from mnist_utils.training.contract import all_layers


def copy_weights(loaded: keras.Model, model: keras.Model, *, run: str, temperature: float = 1.0) -> str:
    """Copy a run's weights into a new model, layer by layer; the last layer's only if it has as many classes.

    Parameters
    ----------
    loaded : keras.Model
        The run's, just loaded: it may be changed.
    model : keras.Model
        Changed in place.
    run : str
        The run's name, for messages.
    temperature : float
        What was folded into the run's model to calibrate it, and is taken out again.

    Returns
    -------
    str
        That the last layer keeps its fresh weights, and why; empty if it does not.

    Raises
    ------
    ConfigError
        If its layers are not the model's.
    """
    if ends_in_softmax(loaded):
        loaded = fold_temperature(loaded, 1 / temperature)
    old, new = ([layer for layer in all_layers(one) if layer.weights] for one in (loaded, model))
    differing = [
        number
        for number, (before, after) in enumerate(zip(old, new, strict=False))
        if [weights.shape for weights in before.weights] != [weights.shape for weights in after.weights]
    ]
    if len(old) != len(new) or set(differing) - {len(new) - 1}:
        at = f"; the first difference is in {new[differing[0]].name}" if differing else ""
        raise ConfigError(
            f"from: {run} has {len(old)} layers with weights, {model.name} {len(new)}{at}; "
            "allowed: a run of the same network (--model), other classes or not"
        )
    for number, (before, after) in enumerate(zip(old, new, strict=True)):
        if number not in differing:
            after.set_weights(before.get_weights())
    if not differing:
        return ""
    return (
        f"from: the last layer starts with fresh weights, as {run} has {loaded.output_shape[-1]} classes and this "
        f"training {model.output_shape[-1]}"
    )


def freeze_layers(model: keras.Model, patterns: str) -> None:
    """Keep the weights of some layers as they are.

    Parameters
    ----------
    model : keras.Model
        Changed in place.
    patterns : str
        Names of layers, or patterns, with commas between; empty: none.

    Raises
    ------
    ConfigError
        If a pattern matches no layer with weights, or nothing is left to train.
    """
    known = [layer for layer in all_layers(model) if layer.weights]
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        matching = [layer for layer in known if fnmatch.fnmatchcase(layer.name, pattern)]
        if not matching:
            names = ", ".join(layer.name for layer in known)
            raise ConfigError(f"freeze: given {pattern!r}, which no layer is called; allowed: {names}, or patterns as conv*")
        for layer in matching:
            layer.trainable = False
    if not model.trainable_variables:
        raise ConfigError(f"freeze: given {patterns}; allowed: at least one layer must be left to train")
