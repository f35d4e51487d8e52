"""Files that are either whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_atomic(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a file, then put it at `path`, over what may be there, in one step.

    Parameters
    ----------
    path : Path
        Where the file shall be; its folder must exist.
    save : callable
        Called with the path to write to: in the same folder, with the same suffix.

    Raises
    ------
    OSError
        If it cannot be written; then nothing is left beside it and what was at `path` is untouched.
    """
    beside = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        save(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())  # else a crash of the machine could leave an empty file under the final name
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_atomic(path, lambda beside: beside.write_text(text, encoding="utf-8"))
