"""Your own network: a function in a Python file that returns a `keras.Model`, checked before it is trained."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_utils import ConfigError

_FUNCTION = "network"  # the function's name, where none is given
_TAKES = ("classes", "conv_dropout", "dense_dropout")


@dataclass(frozen=True)
class OwnNetwork:
    """A file's function, and its text.

    Attributes
    ----------
    build : callable
        Returns a `keras.Model`; may take ``classes``, ``conv_dropout`` and ``dense_dropout``.
    recipe : dict
        The file's own defaults of hyper-parameters: its variable ``recipe``; empty if there is none.
    text : str
        The file's content.
    """

    build: Callable[..., Any]
    recipe: dict[str, Any]
    text: str


def is_own(model: str) -> bool:
    """Say whether a model's name is that of a file: ``path.py`` or ``path.py:function``."""
    return model.partition(":")[0].endswith(".py")


def load_own(model: str) -> OwnNetwork:
    """Run a file and take its function.

    Parameters
    ----------
    model : str
        ``path.py`` (its function ``network``) or ``path.py:function``.

    Raises
    ------
    ConfigError
        If the file or the function is missing, or the file raises an error: the message names its line.
    """
    file, _, name = model.partition(":")
    name = name or _FUNCTION
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model: {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    from mnist_utils.training import backend  # noqa: F401 - the file's own import of Keras is quiet and quick after this one

    content: dict[str, Any] = {"__name__": Path(file).stem, "__file__": file}
    try:
        exec(compile(text, file, "exec"), content)  # noqa: S102 - the user's own file, which the user named
    except Exception as error:
        raise ConfigError(f"model: {_where(error, file)}") from None
    if not callable(content.get(name)):
        there = [
            key for key, value in content.items() if inspect.isfunction(value) and value.__module__ == content["__name__"]
        ]
        raise ConfigError(f"model: {file} has no function {name}; there are: {', '.join(there) or 'none'}")
    return OwnNetwork(content[name], dict(content.get("recipe", {})), text)


def build_own(own: OwnNetwork, model: str, *, classes: int, conv_dropout: float, dense_dropout: float) -> Any:
    """Build the network, and make it one that takes (n, 28, 28, 1) values 0 to 255 and returns probabilities.

    A network of (n, 28, 28) gets a reshaping before it, one without a rescaling layer a division by 255, and one that
    returns logits a softmax after it.

    Raises
    ------
    ConfigError
        If it is no `keras.Model`, takes or returns another shape, or the function raises an error.
    """
    from mnist_utils.training.backend import keras, layers

    file = model.partition(":")[0]
    given = dict(zip(_TAKES, (classes, conv_dropout, dense_dropout), strict=True))
    wanted = inspect.signature(own.build).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values())
    try:
        made = own.build(**{name: value for name, value in given.items() if takes_all or name in wanted})
    except Exception as error:
        raise ConfigError(f"model: {_where(error, file)}") from None
    if not isinstance(made, keras.Model):
        raise ConfigError(f"model: {model} returned {type(made).__name__}; allowed: a keras.Model")
    if not made.built:
        made.build((None, 28, 28, 1))
    takes, returns = made.input_shape, made.output_shape
    if takes not in ((None, 28, 28, 1), (None, 28, 28)) or returns != (None, classes):
        raise ConfigError(
            f"model: {model} takes {takes} and returns {returns}; "
            f"allowed: (None, 28, 28, 1) or (None, 28, 28), and (None, {classes})"
        )
    inputs = keras.Input((28, 28, 1), name="image")
    x = inputs
    if not any(isinstance(layer, (layers.Rescaling, layers.Normalization)) for layer in made._flatten_layers()):
        x = layers.Rescaling(1 / 255)(x)
    if takes == (None, 28, 28):
        x = layers.Reshape((28, 28))(x)
    x = made(x)
    random = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1)).astype(np.float32)
    sums = np.asarray(keras.ops.convert_to_numpy(keras.Model(inputs, x)(random))).sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-3):
        x = layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, x, name=made.name)


def _where(error: Exception, file: str) -> str:
    """Say what was raised, and in which line of the file."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"{file}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"{file}, line {lines[-1]}" if lines else file
    return f"{place}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
