"""`mnist serve` as a process of its own on this machine, for as long as a block lasts: for notebooks and measurements."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_utils import MnistError

_STOP_SECONDS = 10  # `serving.server.STOP_SECONDS` for answering what was accepted, and some for ending


class LocalServerError(MnistError):
    """A server that did not come up."""


@contextmanager
def running_server(model: Path, *, seconds: float = 60) -> Iterator[str]:
    """Start ``mnist serve`` on a free port of 127.0.0.1, and stop it gracefully at the block's end, however it ends.

    Parameters
    ----------
    model : Path
        A ``.tflite`` or ``.keras`` model.
    seconds : float
        How long to wait until it listens.

    Yields
    ------
    str
        Its address, as ``http://127.0.0.1:40001``.

    Raises
    ------
    LocalServerError
        If it does not come up; the text says what the server said.
    """
    address = ["--host", "127.0.0.1", "--port", "0"]
    command = [sys.executable, "-m", "mnist_utils.cli.main", "serve", *address, "--model", str(model)]
    with tempfile.TemporaryFile("w+") as log:  # a pipe that nobody reads would fill up and stop the server
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = _first_line(process, seconds)
            if not line:
                log.seek(0)
                raise LocalServerError(f"the server did not come up: {log.read().strip() or f'silent for {seconds:g} s'}")
            yield line.split()[1]  # "open http://127.0.0.1:40001 - model: ..."
        finally:
            process.terminate()
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _first_line(process: subprocess.Popen[str], seconds: float) -> str:
    """Wait for the line in which the server says where it listens; empty if it ends, or is ended, before."""
    assert process.stdout
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()
