"""The server as a process: address, workers, log, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from mnist_utils import MnistError
from mnist_utils.runs import inference
from mnist_utils.runs.find import run_of_model
from mnist_utils.serving import middleware
from mnist_utils.serving.app import METRICS_DIR, create_app, model_facts

STOP_SECONDS = 8  # for answering what was accepted before the stop; `docker stop` kills after 10

_MODEL = "MNIST_SERVE_MODEL"  # tells worker processes which model


class ServingError(MnistError):
    """An address that cannot be listened on."""


def run_server(model: Path, host: str, port: int, workers: int) -> None:
    """Answer until SIGINT or SIGTERM; say on stdout where, and with which model.

    Parameters
    ----------
    model : Path
        A ``.tflite`` or ``.keras`` model.
    host, port : str, int
        Where to listen; port 0 takes any free one.
    workers : int
        Processes.

    Raises
    ------
    ModelError, ServingError
        If the model cannot be used, or the address cannot be listened on.
    """
    # uvicorn stops gracefully on SIGTERM, then raises it again: what was meant to end has ended well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = create_app(model) if workers == 1 else f"{__name__}:worker_app"
    if workers > 1:
        inference.load_model(model)  # complain here, once
    listener = listen(host, port)
    config = uvicorn.Config(
        app,
        factory=workers > 1,
        http=cast(type[asyncio.Protocol], middleware.http_connection),
        workers=workers,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    facts = model_facts(model)
    run = run_of_model(model)
    origin = f"{run.config.model}, {run.origin}" if run else "of no run, not calibrated"
    print(
        f"open {_address(host, listener.getsockname()[1])} - model: {facts['run']} ({origin}). Press Ctrl-C to stop.",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        if workers == 1:
            _keep_stderr_for_the_log()
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with _shared_metrics():
                os.environ[_MODEL] = str(model.resolve())
                Multiprocess(config, sockets=[listener]).run()


def worker_app() -> FastAPI:
    """Make the application in a worker process that `run_server` started."""
    app = create_app(Path(os.environ[_MODEL]))
    _keep_stderr_for_the_log()
    return app


def _keep_stderr_for_the_log() -> None:
    """Send away what C libraries write to stderr, for the rest of the process.

    LibTIFF writes a line for each flaw that it finds, millions for one picture if a stranger wants it, and between
    the log's lines or in the middle of one. A crash still leaves its traceback. A form's flaws are in the answer.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    faulthandler.enable(sys.stderr)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - os.dup2 wants its number
        os.dup2(nowhere.fileno(), 2)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket that the workers share. uvicorn's own way would log why it cannot, and exit."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # it would tell the address once more
        raise ServingError(f"cannot listen on {_address(host, port)}: {why}; choose another --port or --host") from None
    listener.set_inheritable(True)
    # asyncio does so only for sockets that name their protocol; else the answer's second packet waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(host: str, port: int) -> str:
    shown = "localhost" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - those mean every address
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="mnist-metrics-") as folder:
        os.environ[METRICS_DIR] = folder
        yield
