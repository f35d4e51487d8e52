"""Ctrl-C only at safe points: inside a TensorFlow call it can surface as some other error."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def defer_interrupt() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C until the block calls the function it receives, or ends.

    Only the main thread receives Ctrl-C; in other threads, nothing is deferred.

    Raises
    ------
    KeyboardInterrupt
        At that call or at the end, if Ctrl-C was pressed before.
    """
    pending: list[int] = []

    def check_interrupt() -> None:
        if pending:
            pending.clear()
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check_interrupt
        return
    before = signal.signal(signal.SIGINT, lambda number, _: pending.append(number))
    try:
        yield check_interrupt
    finally:
        signal.signal(signal.SIGINT, before)
    check_interrupt()
