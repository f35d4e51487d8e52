from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from mnist_utils._support import interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def after(steps: list[Callable[[], None]]) -> list[int]:
    """Press Ctrl-C in a block that holds it back; return which of the steps that follow were done."""
    done: list[int] = []

    def block() -> None:
        with interrupts.defer_interrupt() as check_interrupt:
            check_interrupt()  # nothing has come yet
            press()
            for number, step in enumerate([*steps, check_interrupt]):
                done.append(number)
                step()
            done.append(-1)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        block()
    assert signal.getsignal(signal.SIGINT) is before
    return done


def test_comes_where_the_block_lets_it_through() -> None:
    assert after([]) == [0]
    assert after([press, lambda: None]) == [0, 1, 2]


def test_comes_at_the_end_once() -> None:
    done = []

    def block() -> None:
        with interrupts.defer_interrupt():
            press()
            press()
            done.append("went on")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["went on"]
    with interrupts.defer_interrupt() as check_interrupt:
        check_interrupt()


def test_an_error_of_the_block_comes_first() -> None:
    before = signal.getsignal(signal.SIGINT)

    def block() -> None:
        with interrupts.defer_interrupt():
            press()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        block()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_inner_block_ends_with_it() -> None:
    def inner() -> None:
        with interrupts.defer_interrupt():
            press()

    def block() -> None:
        with interrupts.defer_interrupt():
            inner()
            pytest.fail("the inner block's end let it pass")

    with pytest.raises(KeyboardInterrupt):
        block()


def test_holds_nothing_in_another_thread() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interrupts.defer_interrupt() as check_interrupt:
            check_interrupt()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
