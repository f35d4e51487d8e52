"""The contract of all models: (n, 28, 28, 1) values from 0 to 255 in, probabilities out; and what makes a model keep it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mnist_utils import ConfigError
from mnist_utils._support.arrays import are_probabilities, noise_images
from mnist_utils.training.backend import keras, layers, ops

_NORMALISES = ("Normalization", "BatchNormalization")
_SCALES_ITSELF = ("Rescaling", "LayerNormalization", "Lambda", *_NORMALISES)
_ARITHMETIC = "Multiply", "Divide", "TrueDivide", "Subtract", "Add", "NumpyDivide", "FloorDivide"
_TAKES = (28, 28, 1), (28, 28), (784,)
_NOTES = {
    "added_rescaling": "it does not scale its input, so the values that it gets are divided by 255",
    "added_softmax": "it returns logits, so a softmax follows",
}


def keep_contract(
    made: keras.Model, name: str, classes: int, *, scale: float | None = None, logits: bool = False
) -> keras.Model:
    """Add to a model what it lacks: another shape of its input, a scaling, a softmax.

    Parameters
    ----------
    made : keras.Model
        Takes (n, 28, 28, 1), (n, 28, 28) or (n, 784) and returns (n, classes). Its layers become the new model's.
    name : str
        What error messages call it.
    classes : int
    scale : float, optional
        What the values are multiplied by before it gets them. Default: 1/255 if it does not scale them by itself.
    logits : bool
        It returns logits, whatever its last activation is.

    Raises
    ------
    ConfigError
        If it takes or returns something else.
    """
    takes = _input_shape(made, name, classes)
    if known := isinstance(made, keras.Sequential) or hasattr(made, "operations"):
        # Its input may have been a list or a dictionary of one.
        made = keras.Model(made.inputs[0], made.outputs[0], name=made.name)
    scale = (1.0 if scales_itself(made) else 1 / 255) if scale is None else scale
    before = [layers.Rescaling(scale, name="added_rescaling")] if scale != 1 else []
    before += [layers.Reshape(takes, name="added_reshape")] if takes != _TAKES[0] else []
    after = [] if _is_softmax(made, name, takes, logits) else [layers.Softmax(dtype="float32", name="added_softmax")]
    if not before and not after and made.input_shape == (None, *takes):
        return made
    inputs = x = keras.Input((28, 28, 1), name="image")
    # `call`, where its layers are known: they become the new model's own, rather than those of a model within it.
    for layer in [*before, made.call if known else made, *after]:
        x = layer(x)
    return keras.Model(inputs, x, name=made.name)


def describe_additions(model: keras.Model) -> list[str]:
    """Say what `keep_contract` added to a model, and what of it cannot be loaded without its code."""
    found = [note for name, note in _NOTES.items() if any(layer.name == name for layer in model.layers)]
    own = sorted({type(layer).__name__ for layer in all_layers(model) if not type(layer).__module__.startswith("keras.")})
    own += ["Lambda"] * any(isinstance(layer, layers.Lambda) for layer in all_layers(model))
    if own:
        found.append(
            f"its {', '.join(own)} cannot be loaded without running code: predict, serve and evaluate work, as model.tflite "
            "needs none; export and the evidence of error analysis, which load model.keras, do not"
        )
    return found


def scales_itself(made: keras.Model, *, trained: bool = False) -> bool:
    """Say whether the first thing that a model does with the values is to scale them.

    Parameters
    ----------
    made : keras.Model
    trained : bool
        Then a normalisation says by its variances for which values it is: pixels from 0 to 1 have less than 1.
    """
    for layer in _operations(made):
        kind = type(layer).__name__
        if trained and kind in _NORMALISES:
            variance = layer.moving_variance if kind == "BatchNormalization" else layer.variance
            return bool(np.max(ops.convert_to_numpy(variance)) > 1)
        if kind in _SCALES_ITSELF or kind in _ARITHMETIC:
            return True
        if isinstance(layer, layers.Layer) and layer.weights:
            return False
    return False  # what has no weights, such as pooling or cropping, is passed over: a scaling may come after it


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """List a model's layers, those of models inside it among them."""
    parts = ((all_layers(layer) if isinstance(layer, keras.Model) else [layer]) for layer in model.layers)
    return [layer for part in parts for layer in part]


def _operations(made: keras.Model) -> list[Any]:
    """List what a model does, in its order: layers, and arithmetic, which only a functional model tells of."""
    parts = (
        (_operations(layer) if isinstance(layer, keras.Model) else [layer])
        for layer in getattr(made, "operations", made.layers)
    )
    return [layer for part in parts for layer in part]


def _input_shape(made: keras.Model, name: str, classes: int) -> tuple[int, ...]:
    """Return the one of `_TAKES` that a model takes."""
    try:
        if not made.built:
            with warnings.catch_warnings(action="ignore"):  # of a subclass without `build`, which is refused below
                made.build((None, 28, 28, 1))
        takes, returns = made.input_shape, made.output_shape
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(
            f"model: {name} has no input of a known shape; allowed: keras.Sequential, beginning with "
            "keras.Input((28, 28, 1)), or keras.Model(inputs, outputs)"
        ) from None
    found = next((shape for shape in _TAKES if _fits(takes, shape)), None)
    if found is None or not _fits(returns, (classes,)):
        raise ConfigError(
            f"model: {name} takes {takes} and returns {returns}; allowed: (None, 28, 28, 1), (None, 28, 28) or (None, 784), "
            f"and (None, {classes}): a value for each of {classes} classes"
        )
    return found


def _fits(given: Any, wanted: tuple[int, ...]) -> bool:
    """Say whether a shape, without the number of images, is the wanted one; None stands for any length."""
    return (
        isinstance(given, tuple)
        and len(given) == len(wanted) + 1
        and all(one in (None, other) for one, other in zip(given[1:], wanted, strict=True))
    )


def _is_softmax(made: keras.Model, name: str, takes: tuple[int, ...], logits: bool) -> bool:
    """Say whether a model returns probabilities; what it returns for noise tells."""
    noise = noise_images().astype(np.float32).reshape(-1, *takes)
    # Scaled, too: saturated by large values, a sigmoid may return a single 1 in each row.
    both = (np.asarray(ops.convert_to_numpy(made(values, training=False)), np.float32) for values in (noise, noise / 255))
    found = np.concatenate(list(both))
    probable = are_probabilities(found)
    if logits and probable:
        raise ConfigError(f"model: {name} returns probabilities, no logits, as its rows sum to 1; leave --logits out")
    if probable or logits:
        return probable
    at_end = _operations(made)[-1]  # a layer, or arithmetic on its output
    last = getattr(getattr(at_end, "activation", None), "__name__", "linear")
    if last not in ("linear", "softmax"):
        raise ConfigError(f"model: the last activation of {name} is {last}; allowed: softmax, or none (logits)")
    if found.min() >= 0 and found.max() <= 1 and found.any():  # fresh logits may all be 0
        raise ConfigError(
            f"model: {name} returns values from 0 to 1 that do not sum to 1, as a sigmoid does; allowed: softmax, or none "
            "(logits)"
        )
    return False
