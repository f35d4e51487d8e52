"""How the command line prints numbers, tables and errors."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.table import Table

    from mnist_utils.evaluation.metrics import Metrics
    from mnist_utils.runs.run import Run


DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
PATH_REFUSED = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def format_epochs(n: int) -> str:
    """Write a number of epochs."""
    return f"{n} epoch{'' if n == 1 else 's'}"


def print_result(run: Run) -> None:
    """Print what a training or an import found: accuracies with intervals, time, where the run lies."""
    found = run.trained()
    for part, numbers in ("validation", found.validation), ("test", found.test):
        if numbers is None:
            print(f"{part + ' accuracy':19}  none: all images were trained on, so the probabilities are not calibrated")
            continue
        print(f"{part + ' accuracy':19}  {format_accuracy(numbers)} on {numbers.n:,} images of {run.dataset_name}")
    if not run.imported:
        print(f"{'training time':19}  {found.seconds['training']:.1f} s")
    if run.dataset_note:
        print(f"{'note':19}  {run.dataset_note}")
    print(f"{'run':19}  {run.path}")


def format_accuracy(numbers: Metrics, between: str = " ") -> str:
    """Write an accuracy with its interval, in per cent."""
    low, high = numbers.accuracy_interval
    return f"{numbers.accuracy:.2%}{between}({100 * low:.2f}-{100 * high:.2f})"


def show_table(table: Table) -> None:
    """Print a table as wide as the terminal; into a file or a pipe, wide enough that nothing folds."""
    from rich.console import Console

    screen = Console()
    Console(width=screen.width if screen.is_terminal else 120).print(table)


@contextmanager
def reading_progress() -> Iterator[Callable[[int, int], None]]:
    """Yield what `data.own.read_parts` tells of each picture; in a terminal, a bar shows it until the end of the block."""
    from mnist_utils._support.progress import progress_display

    with progress_display(1) as show:
        yield lambda at, n: show(at / n, f"reading pictures: {at:,} of {n:,}")


def fail(message: str, status: int) -> NoReturn:
    """Print an error, a line at a time, and end the command."""
    for line in message.splitlines():
        print(f"mnist: {line}", file=sys.stderr)
    raise SystemExit(status)
