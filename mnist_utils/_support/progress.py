"""How far a training is: a bar in a terminal, one display that changes in a notebook, a line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_BAR = 30  # characters, in a notebook
# For those who closed the page and came back: Lab shows what was saved, and what comes then reaches no page.
_HINT = "If this stands still since you came back to the page: it goes on. mnist runs, in a Terminal, shows how far it is."
_SECONDS = 0.5  # between two changes in a notebook: each is a message to the browser


class ShowProgress(Protocol):
    """What `progress_display` gives: tells how far it is, and keeps a line."""

    def __call__(self, done: float, now: str = "", *, line: str = "") -> None:
        """Show that `done` of all epochs are over, with the words `now`; `line` stays for good."""


@contextmanager
def progress_display(epochs: int, done: int = 0, *, enabled: bool = True) -> Iterator[ShowProgress]:
    """Show a progress until the end of the block.

    In a terminal: a bar on stderr, which goes when it is over; the lines stay. In a notebook: one output, made of the lines
    and a bar, which changes in place, in JupyterLab as under papermill, so that the saved notebook holds the lines and no
    more. Anywhere else: the lines, on stderr.

    Parameters
    ----------
    epochs : int
        How many there are.
    done : int, 0 to `epochs`
        How many were over before.
    enabled : bool
        Otherwise nothing is shown.
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
    # Rich would draw its bar with a widget, of which a saved notebook keeps the word "Output()".
    from IPython.display import DisplayHandle

    handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
    handle.display(_text_bundle(""), raw=True)
    lines: list[str] = []
    last = 0.0

    def show(done: float, now: str = "", *, line: str = "") -> None:
        nonlocal last
        lines.extend([line] if line else [])
        if line or time.monotonic() - last > _SECONDS:
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
