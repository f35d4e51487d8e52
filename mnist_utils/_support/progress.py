"""Training progress: a bar in a terminal, one updating output in a notebook, one line per epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_BAR = 30  # characters, in a notebook
# For users who closed the page and came back: Lab shows the saved output and receives no further updates.
_HINT = "Does the bar stand still after you reopened the page? Training continues; see mnist runs in a terminal."
UPDATE_INTERVAL = 0.5  # between two updates in a notebook: each is a message to the browser


class ShowProgress(Protocol):
    """The function that `progress_display` yields: updates the bar and adds lines."""

    def __call__(self, done: float, now: str = "", *, line: str = "") -> None:
        """Show that `done` epochs are finished, and the text `now`; `line` is kept."""


@contextmanager
def progress_display(epochs: int, done: int = 0, *, enabled: bool = True) -> Iterator[ShowProgress]:
    """Show progress until the end of the block.

    In a terminal: a bar on stderr, which disappears at the end; the lines stay. In a notebook: one output with the lines and
    a bar, updated in place in JupyterLab and under papermill, so that the saved notebook holds only the lines. Elsewhere:
    the lines, on stderr.

    Parameters
    ----------
    epochs : int
        Number of epochs.
    done : int, 0 to `epochs`
        Epochs finished before.
    enabled : bool
        If false, show nothing.
    """
    console = Console(stderr=True, quiet=not enabled, highlight=False)
    with _in_notebook(epochs) if console.is_jupyter and enabled else _in_terminal(console, epochs, done) as show:
        yield show


@contextmanager
def _in_terminal(console: Console, epochs: int, done: int) -> Iterator[ShowProgress]:
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=epochs, completed=done)

        def show(done: float, now: str = "", *, line: str = "") -> None:
            bar.update(task, completed=done, description=now)
            if line:
                console.print(line, soft_wrap=True)

        yield show


@contextmanager
def _in_notebook(epochs: int) -> Iterator[ShowProgress]:
    # Rich would draw its bar with a widget, and a saved notebook would show only "Output()".
    from IPython.display import DisplayHandle

    handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    handle.display(_text_bundle(""), raw=True)
    lines: list[str] = []
    last = 0.0

    def show(done: float, now: str = "", *, line: str = "") -> None:
        nonlocal last
        lines.extend([line] if line else [])
        if line or time.monotonic() - last > UPDATE_INTERVAL:
            last = time.monotonic()
            full = round(_BAR * done / epochs)
            bar = [] if line and done >= epochs else [f"{'█' * full}{'░' * (_BAR - full)}  {now}".rstrip(), _HINT]
            handle.update(_text_bundle("\n".join(lines + bar)), raw=True)

    try:
        yield show
    finally:
        handle.update(_text_bundle("\n".join(lines)), raw=True)


def _text_bundle(text: str) -> dict[str, Any]:
    return {"text/plain": text}
