"""Atomic writes: to a temporary file in the same folder, flushed to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file atomically, replacing any file at `path`.

    Parameters
    ----------
    path : Path
        The file to write; its folder must exist.
    save : callable
        Called with the path of a temporary file in the same folder, with the same suffix.

    Raises
    ------
    OSError
        If the file cannot be written. The temporary file is removed, and `path` is unchanged.
    """
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # otherwise a system crash could leave an empty file at `path`
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
