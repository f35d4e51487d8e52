"""Ctrl-C at a moment that suits: in the middle of TensorFlow's work it can come out as some other error."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def defer_interrupt() -> Iterator[Callable[[], None]]:
    """Hold back Ctrl-C until the block calls what it is given, or ends.

    In another thread than the main one, to which Ctrl-C goes, nothing is held.

    Raises
    ------
    KeyboardInterrupt
        At one of these moments, if Ctrl-C was pressed before it.
    """
    came: list[int] = []

    def check_interrupt() -> None:
        if came:
            came.clear()
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check_interrupt
        return
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield check_interrupt
    finally:
        signal.signal(signal.SIGINT, before)
    check_interrupt()
