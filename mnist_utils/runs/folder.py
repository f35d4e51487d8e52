"""A run's folder: made, locked against other processes, and its parts marked incomplete or complete."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_utils import ConfigError
from mnist_utils._support import files
from mnist_utils.runs.find import read_marks
from mnist_utils.runs.run import INCOMPLETE, NOTEBOOKS, Part, RunError
from mnist_utils.training.network import short_name

if TYPE_CHECKING:
    from mnist_utils.training.config import TrainConfig

LOCKED_FOLDER = "MNIST_LOCKED_FOLDER"  # environment variable of the kernels of `mnist run`: the folder that it works on


def new_run_name(config: TrainConfig, results: Path) -> str:
    """Make a folder for a run in `results`, named by date and model, and return its name."""
    stem = f"{datetime.now():%Y%m%d-%H%M%S}-{short_name(config.model)}"
    results.mkdir(parents=True, exist_ok=True)
    for name in (stem, *(f"{stem}-{n}" for n in range(2, 1000))):  # others may begin in the same second
        with contextlib.suppress(FileExistsError):
            (results / name).mkdir()
            return name
    raise RunError(f"there are a thousand runs {stem} in {results}; give this one a name with --run")


def check_run_name(name: str, *, option: str = "run") -> None:
    """Refuse a name, given as `option`, that cannot be a folder's.

    Raises
    ------
    ConfigError
        Says what is allowed.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name, re.ASCII):
        raise ConfigError(
            f"{option}: given {name!r}; allowed: up to 100 letters, digits, '_', '-', '.', '+' and '=', no leading '.'"
        )


def new_run_folder(name: str, results: Path, *, option: str = "run") -> Path:
    """Make the folder of the run `name` in `results`, if it is not there yet; the name was given as `option`.

    Raises
    ------
    ConfigError
        If the name cannot be a folder's.
    OSError
        If it cannot be made.
    """
    check_run_name(name, option=option)
    (results / name).mkdir(parents=True, exist_ok=True)
    return results / name


@contextlib.contextmanager
def run_lock(folder: Path, name: str, *, kind: str = "run", option: str = "run", seconds: float = 0) -> Iterator[None]:
    """Keep other processes out of a folder of the run `name`, or of another `kind`; the name was given as `option`.

    The kernels that `mnist run` starts meanwhile belong to it and are let in. Who waits `seconds` for another process's end
    gets in after it.

    Raises
    ------
    RunError
        If another one is in it.
    """
    from filelock import FileLock, Timeout

    if os.environ.get(LOCKED_FOLDER) == str(folder.resolve()):
        yield
        return
    lock = FileLock(folder / ".lock", timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        who = f"another process is using {kind} {name}"
        raise RunError(f"{who}; wait for it, or choose another name (--{option})") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink()  # nobody waits for it, so nobody can hold on to the removed file
        lock.release()


def mark_incomplete(folder: Path, part: Part, why: str) -> None:
    """Mark a part of a run as incomplete, see `runs.find.read_marks`."""
    _write_marks(folder, read_marks(folder) | {part: next(iter(why.splitlines()), "")})


def mark_complete(folder: Path, part: Part) -> None:
    """Take a part's mark away."""
    _write_marks(folder, {name: why for name, why in read_marks(folder).items() if name != part})


def _write_marks(folder: Path, marks: dict[str, str]) -> None:
    if marks:
        files.write_text_atomic(folder / INCOMPLETE, "".join(f"{part}: {why}\n" for part, why in marks.items()))
    else:
        (folder / INCOMPLETE).unlink(missing_ok=True)
    (folder / NOTEBOOKS / INCOMPLETE).unlink(missing_ok=True)  # of an earlier version


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of a process that was killed; whoever calls this holds the run's lock."""
    for leftover in folder.rglob(".writing-*"):
        leftover.unlink()
