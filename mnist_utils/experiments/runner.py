"""The points of a sweep, computed by Dask's workers: processes of this machine, or a cluster's."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mnist_utils import MnistError
from mnist_utils._support.progress import progress_display
from mnist_utils.data.datasets import load_dataset
from mnist_utils.experiments import store
from mnist_utils.experiments.grid import Trial, describe_trial, varied_parameters
from mnist_utils.experiments.store import SweepError, pack
from mnist_utils.pipeline import execute, warm_kernel
from mnist_utils.pipeline.parameters import TRAINING_NOTEBOOK, resolve_parameters, select_notebooks
from mnist_utils.runs.run import read_run

if TYPE_CHECKING:
    from distributed import Client


_FIRST_ANSWER = 30  # seconds that a scheduler has to answer


@dataclass(frozen=True)
class Outcome:
    """What came of one try of a point.

    Attributes
    ----------
    packed : bytes
        The run's folder, see `store.pack`; where the point failed, as far as it came. Empty where nothing came back.
    error : str
        Why it failed; empty where it did not.
    """

    packed: bytes
    error: str


# --- on a worker ------------------------------------------------------------------------------------------


def compute_trial(key: str, parameters: dict[str, Any], sha256: str) -> Outcome:
    """Execute the training notebook into a folder of its own, and return that folder.

    What fails is returned, not raised: the executed notebook comes with it.

    Parameters
    ----------
    key : str
        The run's name.
    parameters : dict
        Of the notebook.
    sha256 : str
        Of the data set that is meant: a worker that finds another one must not train on it.
    """
    if sys.platform == "linux":  # macOS's own libraries do not bear to be copied
        os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = warm_kernel.NAME
    with tempfile.TemporaryDirectory(prefix="mnist-sweep-") as results:
        folder, error = Path(results, key), ""
        try:
            data = parameters["dataset"], parameters.get("data_dir")
            if _sha256(*data) != sha256:
                _sha256.cache_clear()  # somebody may fix it while this worker lives
                where = f"{socket.gethostname()} has a {data[0]} of SHA-256 {_sha256(*data)[:12]}..."
                raise SweepError(f"the worker on {where}, not {sha256[:12]}...")
            steps = resolve_parameters(select_notebooks(TRAINING_NOTEBOOK), parameters)
            execute.run_notebooks(steps, key, Path(results), Console(quiet=True))
        except MnistError as problem:
            error = str(problem).splitlines()[0]
        return Outcome(pack(folder) if folder.is_dir() else b"", error)


@functools.cache
def _sha256(dataset: str, data_dir: str | None) -> str:
    """Tell which data set this worker has; reading it takes half a second, and points are many."""
    return load_dataset(dataset, data_dir=data_dir).sha256


# --- on the client ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def local_cluster(workers: int, *, threads: int | None = None) -> Iterator[Client]:
    """Start worker processes on this machine until the end of the block.

    Each computes with `threads` threads; by default they share the cores, so that they do not fight over them.
    They listen on loopback only, and speak TLS with certificates of their own: whoever can speak to a scheduler can make
    it run anything.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    share = threads or max(1, (os.cpu_count() or 1) // workers)
    names = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    environment = dict.fromkeys(names, str(share))
    settings: dict[str, Any] = {
        "distributed.nanny.pre-spawn-environ": environment,  # its default would win over LocalCluster(env=...)
        "distributed.scheduler.http.routes": [],  # pages that tell whoever asks
        "distributed.worker.http.routes": [],
        # What Dask looks at many times a second, in every process, took a tenth of two cores from the training.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # of Dask: one point at a time
            memory_limit=None,  # the notebook's kernel takes the memory, which Dask does not see
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            preload=[__name__],  # see `dask_setup`
            security=Security.temporary(),
            silence_logs=60,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def dask_setup(_: Any) -> None:
    """Let a local worker not hear Ctrl-C, which a terminal sends to all: the client does, and ends it. Dask calls this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def parallel_map(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give a `map` whose calls are computed by so many processes; with one worker it is Python's own, in this process."""
    if workers == 1:
        yield map
        return
    with local_cluster(workers) as client:
        yield partial(_map, client)


def _map(client: Client, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
    from distributed.scheduler import KilledWorker

    for future in client.map(function, *(list(values) for values in arguments), pure=False):
        try:
            yield future.result()
        except KilledWorker as error:
            raise SweepError(_failure_reason(error)) from None


@contextlib.contextmanager
def connect_cluster(address: str) -> Iterator[Client]:
    """Connect to a scheduler that others started.

    Raises
    ------
    SweepError
        If none answers there.
    """
    client = _connected(address)  # which imports Dask, whose loggers are there from then on
    with _quiet_dask(), client:
        yield client


def _connected(address: str) -> Client:
    from distributed import Client

    came: queue.SimpleQueue[Client | Exception] = queue.SimpleQueue()

    def connect() -> None:
        try:
            came.put(Client(address, timeout=_FIRST_ANSWER))
        except Exception as error:
            came.put(error)

    # In a thread, as Dask waits for ever where something else than a scheduler answers, a web server for instance.
    threading.Thread(target=connect, daemon=True).start()
    try:
        found = came.get(timeout=_FIRST_ANSWER + 5)
    except queue.Empty:
        found = OSError("no answer came that Dask understands")
    if not isinstance(found, Exception):
        return found
    if not isinstance(found, (OSError, ValueError, TypeError, ImportError, MemoryError)):
        raise found
    if isinstance(found, TypeError) and "ssl_context" in str(found):
        raise SweepError(
            f"scheduler: given {address}; tls needs certificates: name their files in Dask's settings, distributed.comm.tls"
        )
    raise SweepError(
        f"scheduler: given {address}; no scheduler answers there ({_failure_reason(found)}). "
        "Start one (dask scheduler), and name it as tcp://host:8786 or tls://host:8786"
    )


def has_workers(client: Client) -> bool:
    """Say whether the scheduler has somebody to give work to.

    Raises
    ------
    SweepError
        If it went away.
    """
    try:
        return bool(client.ncores())
    except OSError:
        raise SweepError("the scheduler went away") from None


@contextlib.contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep Dask from logging, with tracebacks, what we tell of in a line: that the scheduler went away."""
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("distributed")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def compute_trials(
    client: Client, points: list[Trial], *, retries: int = 1, data_dir: Path | None = None
) -> Iterator[tuple[Trial, Outcome, bool]]:
    """Have every point computed, those that fail again.

    Parameters
    ----------
    client : distributed.Client
    points : list of Point
    retries : int
        How often a point that fails is tried again.
    data_dir : Path, optional
        Where the workers find the data; only where they share this machine's files.

    Yields
    ------
    point : Point
    outcome : Outcome
    last : bool
        Whether it was the point's last try.

    Raises
    ------
    SweepError
        If the scheduler went away.
    """
    from distributed import CancelledError, as_completed
    from distributed.scheduler import KilledWorker

    command = uuid.uuid4().hex[:8]  # keys of another client of the same scheduler are others
    tries: Counter[str] = Counter()
    waiting = {}

    def submit(point: Trial) -> Any:
        tries[point.key] += 1
        parameters = {name: value for name, value in point.config.model_dump().items() if value is not None}
        parameters |= {"data_dir": str(data_dir)} if data_dir else {}
        # One first word for all: Dask then knows how long they take, and gives each to the worker that is free first.
        key = f"point-{point.key}-{tries[point.key]}-{command}"
        future = client.submit(compute_trial, point.key, parameters, point.sha256, key=key, pure=False)
        waiting[future.key] = point
        return future

    coming = as_completed([submit(point) for point in points])
    for future in coming:
        if future.status not in ("finished", "error"):
            raise SweepError("the scheduler went away")
        point = waiting.pop(future.key)
        failed = future.status == "error"  # of the worker, not of the training, which `compute_trial` tells of
        try:
            outcome = Outcome(b"", _failure_reason(future.exception())) if failed else future.result()
        except (CancelledError, OSError):  # the scheduler died while the run was on its way
            raise SweepError("the scheduler went away") from None
        except KilledWorker as error:  # it died with the run, and so did those that tried again
            outcome = Outcome(b"", _failure_reason(error))
        again = bool(outcome.error) and tries[point.key] <= retries
        if again:
            coming.add(submit(point))
        yield point, outcome, not again


def _failure_reason(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return "the workers that tried it died: they were killed, or the memory was used up"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def run_trials(
    client: Client,
    points: list[Trial],
    folder: Path,
    *,
    retries: int = 1,
    data_dir: Path | None = None,
    progress: bool = True,
) -> None:
    """Have those points of a sweep computed that are not done, and keep each run as it comes.

    Parameters
    ----------
    client : distributed.Client
    points : list of Point
    folder : Path
        The sweep's, see `experiments.store.store_trial`.
    retries, data_dir
        See `compute_trials`.
    progress : bool
        Show how far it is, with the best validation accuracy so far.

    Raises
    ------
    SweepError
        If the scheduler went away. What came until then is kept.
    OSError
        If a run cannot be written; those before it are kept.
    """
    found, names = store.read_trials(folder, points), varied_parameters(points)
    todo = [point for point in points if not store.is_trained(found.get(point.key))]
    done = len(points) - len(todo)
    best = max((run.metrics["validation"]["accuracy"] for run in store.trained_runs(found)), default=0.0)
    with progress_display(len(points), done, enabled=progress) as show:
        show(done, _so_far(done, len(points), best))
        for point, outcome, last in compute_trials(client, todo, retries=retries, data_dir=data_dir):
            store.store_trial(folder, point.key, outcome.packed, outcome.error)
            what = describe_trial(point, names)
            if outcome.error:
                line = f"{what}: {outcome.error}{'' if last else '; is tried again'}"
            else:
                numbers = read_run(point.key, folder / store.TRIALS).metrics
                accuracy = numbers["validation"]["accuracy"]
                best = max(best, accuracy)
                line = f"{what}: {accuracy:.2%} of the validation images right, {numbers['seconds']['training']:.1f} s"
            done += last
            show(done, _so_far(done, len(points), best), line=line)


def _so_far(done: int, points: int, best: float) -> str:
    return f"{done}/{points} points" + (f", best {best:.2%}" if best else "")
