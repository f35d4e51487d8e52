"""Networks by name: the built-in ones, and your own from a file or a notebook. Reading one here runs nothing of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mnist_utils import ConfigError
from mnist_utils._support.own_function import OwnFunction, is_own, read_function

FUNCTION = "network"  # what a file's function is called where no other name is given
_FOLDER = Path(__file__).with_name("architectures")
NAMES = tuple(sorted((path.stem for path in _FOLDER.glob("[a-z]*.py")), key=lambda name: (name != "fast", name)))

# The recipe of a network that brings none: what Keras's own optimiser and `fit` do.
KERAS_DEFAULTS: Mapping[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "label_smoothing": 0.0,
    "augment": "none",
}


@dataclass(frozen=True)
class Network:
    """A function that returns a `keras.Model`, and the hyper-parameters that suit it.

    Attributes
    ----------
    source : OwnFunction
        The function; of a built-in network, the one of its file.
    recipe : dict
        Defaults of hyper-parameters.
    """

    source: OwnFunction
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def built_in(self) -> bool:
        """Whether it is one of `NAMES`."""
        return self.source.path is not None and self.source.path.parent == _FOLDER

    @property
    def name(self) -> str:
        """``fast``, ``mine.py``, ``mine.py:wider``, or a function's name in a notebook."""
        return self.source.name.removesuffix(".py") if self.built_in else self.source.name

    @property
    def text(self) -> str:
        """The file or the function, as it is kept in a run."""
        return self.source.text

    @property
    def identity(self) -> str:
        """What a run's configuration calls it: the name; of your own with eight digits of its hash: ``mine.py@1a2b3c4d``."""
        return self.name if self.built_in else self.source.identity


def load_network(given: str | Network | Callable[..., Any]) -> Network:
    """Find a network.

    Parameters
    ----------
    given : str, Network or callable
        One of `NAMES`; a file and perhaps its function, ``path.py`` or ``path.py:function`` (default ``network``); or the
        function itself. It returns a `keras.Model` and may take ``classes``, ``conv_dropout`` and ``dense_dropout``. A file
        may carry ``recipe = {"epochs": 5, "learning_rate": 1e-3}``: its own defaults.

    Raises
    ------
    ConfigError
        If there is none, or the file cannot be read.
    """
    if isinstance(given, Network):
        return given
    if isinstance(given, str) and given in NAMES:
        return _built_in(given)
    if not is_own(given):
        raise ConfigError(f"model: given {given or repr('')}; allowed: {allowed()}")
    return _read(given)


def allowed() -> str:
    """Say what `load_network` takes, for error messages and help texts."""
    return f"{', '.join(NAMES)}, or your own: file.py or file.py:function"


@cache
def _built_in(name: str) -> Network:
    return _read(str(_FOLDER / f"{name}.py"))


def _read(given: str | Callable[..., Any]) -> Network:
    source = read_function(given, option="model", default=FUNCTION)
    return Network(source, _read_recipe(source.text, source.path) if source.path else {})


def _read_recipe(text: str, path: Path) -> dict[str, Any]:
    """Take ``recipe`` from a file's text, without running it."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else path
        raise ConfigError(f"model: {where}: {getattr(error, 'msg', error)}") from None
    bound = [
        node for node in tree.body for target in _targets(node) if isinstance(target, ast.Name) and target.id == "recipe"
    ]
    changed = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "recipe"
        and (
            isinstance(node.ctx, ast.Store | ast.Del)
            or getattr(node, "attr", "") in ("update", "pop", "clear", "setdefault")
        )
    ]
    if not bound:
        return {}
    if more := [*bound[1:], *changed]:
        raise ConfigError(
            f"model: {path}, line {more[0].lineno}: recipe is changed; allowed: one assignment of plain values, as the file "
            "is read and not run"
        )
    try:
        recipe = ast.literal_eval(bound[0].value)  # type: ignore[attr-defined]
    except (ValueError, TypeError):
        recipe = None
    if not isinstance(recipe, dict) or not all(isinstance(name, str) for name in recipe):
        raise ConfigError(
            f'model: {path}, line {bound[0].lineno}: recipe; allowed: names and plain values, as in {{"epochs": 5}}'
        )
    return recipe


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []


def short_name(identity: str) -> str:
    """Turn an `identity` into a part of a folder's name: ``mine-wider``."""
    name = re.sub(r"\.(py|keras)\b", "", identity.partition("@")[0])
    return re.sub(r"[^\w.+=-]+", "-", name, flags=re.ASCII).strip("-.") or FUNCTION
