"""What libraries in C++ write to stderr, without the lines that nobody can act on."""

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
    """Leave the noise out of what is written to stderr in this block.

    Where the processor has the newer vector instructions, TensorFlow tells of oneDNN while it is loaded, twice, and heeds
    no TF_CPP_MIN_LOG_LEVEL in it. All other lines come when the block ends; a process that is killed in it ends in silence.
    """
    with contextlib.ExitStack() as stack:
        try:
            said = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # nowhere to write, or no stderr: better noisy than not at all
            yield
            return
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said:
                if not _NOISE.search(line):
                    with contextlib.suppress(OSError):  # as C++ does where stderr is full
                        os.write(2, line)


def quiet_import(name: str) -> None:
    """Let the first import of a module, whoever asks for it, be quiet; nothing is imported now.

    The image calls this as a notebook's kernel starts, for those who import TensorFlow before anything of ours.

    Parameters
    ----------
    name : str
        Of a module of the top level: ``tensorflow``.
    """
    sys.meta_path.insert(0, _Finder(name))


class _Finder:
    """Python's way to step in between: asked first for each module that is imported."""

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
