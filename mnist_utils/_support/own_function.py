"""A function of the user's own, in a Python file or a notebook: found, kept as text, run only when it is called for."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import textwrap
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_utils import ConfigError


@dataclass(frozen=True)
class OwnFunction:
    """A function, and its text.

    Attributes
    ----------
    name : str
        ``mine.py``, ``mine.py:wider``, or the function's name in a notebook.
    text : str
        The file, or the function where it is one of a notebook.
    function_name : str
        What it is called in the file.
    path : Path, optional
        Of the file; None for a function of a notebook.
    function : callable, optional
        What was given in a notebook; otherwise see `call_for`.
    """

    name: str
    text: str
    function_name: str
    path: Path | None = None
    function: Callable[..., Any] | None = None

    @property
    def sha256(self) -> str:
        """The hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def identity(self) -> str:
        """What a run's configuration calls it: the name, with eight digits of the hash: ``mine.py@1a2b3c4d``."""
        return f"{self.name}@{self.sha256[:8]}"


def is_own(given: Any) -> bool:
    """Say whether a value names a file's function, or is a function."""
    return callable(given) or (isinstance(given, str) and _split(given)[0].endswith(".py"))


def _split(given: str) -> tuple[str, str]:
    """Split ``path.py:function``; a path may have colons, too."""
    file, _, function = given.rpartition(":")
    return (file, function) if file.endswith(".py") else (given, "")


def read_function(given: str | Callable[..., Any], *, option: str, default: str) -> OwnFunction:
    """Read a function's text; nothing of it is run.

    Parameters
    ----------
    given : str or callable
        ``path.py`` or ``path.py:function``, or the function itself.
    option : str
        What it was given for, for error messages.
    default : str
        What the function is called where the path names none.

    Raises
    ------
    ConfigError
        If there is no such file, or it cannot be read.
    """
    if callable(given):
        return _of_notebook(given, option, default)
    file, function = _split(given)
    if function and not function.isidentifier():
        raise ConfigError(f"{option}: given {given!r}; allowed: a function's name after the colon")
    path = Path(file).expanduser().resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{option}: there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{option}: {path} cannot be read: {reason}") from None
    name = path.name + (f":{function}" if function not in ("", default) else "")
    return OwnFunction(name, text, function or default, path)


def _of_notebook(function: Callable[..., Any], option: str, default: str) -> OwnFunction:
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise ConfigError(
            f"{option}: the source of {function!r}, which a run keeps, is missing; allowed: a function of a cell or a file"
        ) from None
    name = getattr(function, "__name__", "")
    name = name if name.isidentifier() else default
    return OwnFunction(name, text, name, function=function)


def call_for(own: OwnFunction, option: str) -> Callable[..., Any]:
    """Run the file, unless it is a notebook's function, and return the function.

    Raises
    ------
    ConfigError
        If the file raises an error, or has no such function.
    """
    if own.function:
        return own.function
    module = types.ModuleType(f"own_function_{own.sha256[:8]}")
    module.__file__ = str(own.path)
    content = vars(module)
    sys.modules[module.__name__] = module  # where dataclasses, say, look for their annotations
    try:
        with_its_folder(own, lambda: exec(compile(own.text, str(own.path), "exec"), content))  # noqa: S102 - the user's own file, which the user named
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{option}: {describe_error(error, own)}") from None
    found = content.get(own.function_name)
    if not callable(found):
        functions = (name for name, value in content.items() if inspect.isfunction(value))
        there = [name for name in functions if content[name].__module__ == content["__name__"]]
        raise ConfigError(
            f"{option}: {own.path} has no function {own.function_name}; it has {', '.join(there) or 'no function at all'}"
        )
    return found


def with_its_folder(own: OwnFunction, do: Callable[[], Any]) -> Any:
    """Call something while the function's file may import what lies beside it, as Python lets scripts do."""
    folder = str(own.path.parent) if own.path else ""
    if not folder:
        return do()
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        return do()
    finally:
        with contextlib.suppress(ValueError):  # the file took it away itself
            sys.path.remove(folder)
        # Another function's file may have another module of that name beside it.
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(folder):
                del sys.modules[name]


def describe_error(error: BaseException, own: OwnFunction) -> str:
    """Say in one line what was raised, and in which line of the file or the function."""
    file, first, place = str(own.path), 0, str(own.path)
    if own.function:
        code = getattr(own.function, "__code__", None)
        file, first, place = (code.co_filename, code.co_firstlineno - 1, own.name) if code else ("", 0, own.name)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file and frame.lineno]
    place += f", line {lines[-1] - first}" if lines else ""
    return f"{place}: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
