"""Filters out lines that C++ libraries write to stderr and that nobody can act on."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NOISE = re.compile(rb"oneDNN custom operations are on|before absl::InitializeLog\(\)|^INFO: Created TensorFlow Lite")


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Filter the known irrelevant lines out of stderr in this block.

    On CPUs with newer vector instructions, TensorFlow writes twice about oneDNN while it is loaded, whatever
    TF_CPP_MIN_LOG_LEVEL says. All other lines appear when the block ends; if the process is killed inside it, they are lost.
    """
    with contextlib.ExitStack() as stack:
        try:
            written = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no temporary file, or no stderr: run the block unfiltered
            yield
            return
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            written.seek(0)
            for line in written:
                if not _NOISE.search(line):
                    with contextlib.suppress(OSError):  # C++ too ignores a full stderr
                        os.write(2, line)


def quiet_import(name: str) -> None:
    """Make the first import of a module quiet, wherever it happens; nothing is imported now.

    The container image calls this when a notebook kernel starts, for notebooks that import TensorFlow before this package.

    Parameters
    ----------
    name : str
        A top-level module, such as ``tensorflow``.
    """
    sys.meta_path.insert(0, _Finder(name))


class _Finder:
    """A meta path finder: Python consults it first for each import."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with quiet_stderr():
                execute(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
