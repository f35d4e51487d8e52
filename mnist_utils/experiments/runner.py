"""The trials of a sweep, trained by Dask's workers: processes of this machine, or a cluster's."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils._support.progress import progress_display
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.experiments import store
from mnist_utils.experiments.grid import Trial, describe_trial, varied_parameters
from mnist_utils.experiments.store import SweepError
from mnist_utils.runs.record import record_run
from mnist_utils.training.config import TrainConfig

if TYPE_CHECKING:
    from distributed import Client

_FIRST_REPLY_SECONDS = 30  # that a scheduler has
_LOCK_SECONDS = 600  # for a worker that was taken for dead and trains the same trial


# --- on a worker ------------------------------------------------------------------------------------------


def train_trial(key: str, config: TrainConfig, sha256: str, folder: Path, token: str, data_dir: Path | None) -> bytes:
    """Train a trial into the sweep's folder, or resume it; where this machine does not have that folder, return the run.

    Parameters
    ----------
    key, config, sha256
        See `Trial`. A worker that finds another data set must not train on it.
    folder : Path
        The sweep's, on the client.
    token : str
        A file in it, which says that it is the same folder here.
    data_dir : Path, optional
        See `load_dataset`.

    Returns
    -------
    bytes
        See `store.pack_run`; empty where the run lies in the sweep's folder already.
    """
    from mnist_utils.training.backend import keras

    given = "validation_fraction", "train_limit", "raw", "skip_unreadable"
    dataset = _load(config.dataset, data_dir=data_dir, **{name: getattr(config, name) for name in given})
    if dataset.sha256 != sha256:
        _load.cache_clear()  # somebody may fix it while this worker lives
        found = f"{socket.gethostname()} has a {config.dataset} of SHA-256 {dataset.sha256[:12]}..."
        raise SweepError(f"the worker on {found}, not {sha256[:12]}...")
    keras.utils.clear_session()  # else what the trials before left behind stays in memory, and counts on in layers' names
    if (folder / token).is_file():
        record_run(config, dataset, key, store.trials_folder(folder), progress=False, lock_seconds=_LOCK_SECONDS)
        return b""
    with tempfile.TemporaryDirectory(prefix="mnist-sweep-") as results:
        return store.pack_run(record_run(config, dataset, key, Path(results), progress=False).path)


@functools.lru_cache(maxsize=2)  # raw and not raw
def _load(name: str, **given: Any) -> Dataset:
    """Load a data set once; trials are many."""
    return load_dataset(name, **given)


# --- on the client ----------------------------------------------------------------------------------------


def run_trials(
    client: Client,
    trials: list[Trial],
    folder: Path,
    *,
    retries: int = 1,
    data_dir: Path | None = None,
    progress: bool = True,
) -> None:
    """Train those trials of a sweep that are not done.

    Parameters
    ----------
    client : distributed.Client
    trials : list of Trial
    folder : Path
        The sweep's.
    retries : int
        How often a trial that fails is tried again.
    data_dir : Path, optional
        Where the workers find the data; only where they share this machine's files.
    progress : bool
        Show how far it is, with the best validation accuracy so far.

    Raises
    ------
    SweepError
        If the scheduler went away. What came until then is kept.
    OSError
        If a run cannot be written; those before it are kept.
    """
    from distributed import CancelledError, as_completed

    found, names = store.read_trials(folder, trials), varied_parameters(trials)
    todo = {trial.key: trial for trial in trials if not store.is_trained(found.get(trial.key))}
    best = max((run.trained().validated().accuracy for run in store.trained_runs(found)), default=0.0)
    with (
        store.shared_token(folder) as token,
        progress_display(len(trials), len(trials) - len(todo), enabled=progress) as show,
    ):
        show(len(trials) - len(todo), _so_far(len(trials) - len(todo), len(trials), best))
        train = partial(train_trial, folder=folder.resolve(), token=token, data_dir=data_dir)
        futures = client.map(
            train,
            list(todo),
            [trial.config for trial in todo.values()],
            [trial.sha256 for trial in todo.values()],
            key=[f"trial{token}-{key}" for key in todo],
            retries=retries,
            pure=False,
        )
        for done, future in enumerate(as_completed(futures), start=len(trials) - len(todo) + 1):
            trial = todo[future.key.rpartition("-")[2]]
            if future.status not in ("finished", "error"):
                raise SweepError("the scheduler went away")
            try:
                packed = future.result()
            except (CancelledError, OSError) as error:
                if future.status != "error":  # the scheduler died while the run was on its way
                    raise SweepError("the scheduler went away") from None
                line = store.store_failure(folder, trial.key, _failure_reason(error))
            except Exception as error:
                line = store.store_failure(folder, trial.key, _failure_reason(error))
            else:
                metrics = store.store_trial(folder, trial.key, packed).trained()
                best = max(best, metrics.validated().accuracy)
                line = f"{metrics.validated().accuracy:.2%} on validation, {metrics.seconds['training']:.1f} s"
            show(done, _so_far(done, len(trials), best), line=f"{describe_trial(trial, names)}: {line}")


def _so_far(done: int, trials: int, best: float) -> str:
    return f"{done}/{trials} trials" + (f", best {best:.2%}" if best else "")


def _failure_reason(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    from mnist_utils import MnistError

    if isinstance(error, KilledWorker):
        return "the workers that tried it died: they were killed, or the memory was used up"
    text = next(iter(str(error).splitlines()), "")
    return text if isinstance(error, MnistError) else f"{type(error).__name__}: {text}"


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
    settings: dict[str, Any] = {
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(names, str(share)),  # its default would win over env=...
        "distributed.scheduler.http.routes": [],  # pages that anybody could read
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
            threads_per_worker=1,  # of Dask: one trial at a time
            memory_limit=None,  # else Dask restarts a worker in the middle of a training that needs much
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
    with contextlib.suppress(ValueError):  # not in a main thread
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
        If there is none.
    """
    client = _connect(address)  # which imports Dask, whose loggers are there from then on
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("distributed")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:  # they report, with tracebacks, what we say in a line: that the scheduler went away
        logger.setLevel(logging.CRITICAL)
    try:
        with client:
            yield client
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _connect(address: str) -> Client:
    from distributed import Client

    replies: queue.SimpleQueue[Client | Exception] = queue.SimpleQueue()

    def connect() -> None:
        try:
            replies.put(Client(address, timeout=_FIRST_REPLY_SECONDS))
        except Exception as error:
            replies.put(error)

    # In a thread, as Dask waits for ever if the address is another server's, a web server's for instance.
    threading.Thread(target=connect, daemon=True).start()
    try:
        found = replies.get(timeout=1.2 * _FIRST_REPLY_SECONDS)
    except queue.Empty:
        found = OSError("the reply is not Dask's")
    if not isinstance(found, Exception):
        return found
    if not isinstance(found, (OSError, ValueError, TypeError, ImportError, MemoryError)):
        raise found
    if isinstance(found, TypeError) and "ssl_context" in str(found):
        raise SweepError(
            f"scheduler: given {address}; tls needs certificates: name their files in Dask's settings, distributed.comm.tls"
        )
    raise SweepError(
        f"scheduler: given {address}; there is no scheduler ({_failure_reason(found)}). "
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
