"""A sweep whose worker, scheduler and client are really killed: the table must be that of an undisturbed one.

These take minutes, so they are not among the tests of `make test`; `.ci/run` runs them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from mnist_utils.experiments import grid, store

pytestmark = pytest.mark.kills

# A shell's background job, and all that it starts, ignores Ctrl-C.
_START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom mnist_utils.cli.main import main; main()"
)
COMMAND = [
    sys.executable, "-c", _START, "sweep", "--name", "mine",
    "-p", "dataset", "digits", "-p", "train_limit", "200", "-p", "epochs", "1,2", "-p", "batch_size", "64,256",
    "-p", "seed", "0:2",
]  # fmt: skip
TRIALS = 8
SEED = int(os.environ.get("MNIST_TEST_SEED", "0"))
RANDOM = np.random.default_rng(SEED)  # the moments; other ones by MNIST_TEST_SEED


def command(results: Path, *more: str) -> subprocess.Popen[str]:
    arguments = [*COMMAND, "--results", str(results), *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def finished(results: Path, *more: str) -> str:
    """Give the command, and again while it stops before its end; return what the last one printed."""
    for _ in range(5):
        with command(results, *more) as process:
            out, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            return out
    pytest.fail(out)


def table(results: Path) -> pd.DataFrame:
    """Read a sweep's table without what differs from time to time."""
    return pd.read_csv(results / store.SWEEPS / "mine" / "table.csv", index_col="key").drop(columns="seconds")


def done(results: Path) -> int:
    return len(list(store.trials_folder(results / store.SWEEPS / "mine").glob("[!.]*/figures/confusion_matrix.png")))


def wait_until(happened: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def wait_a_while(process: subprocess.Popen[str], results: Path, after: int) -> None:
    """Wait until so many trials are done, or the command is over, and some seconds more."""
    wait_until(lambda: done(results) >= after or process.poll() is not None)
    time.sleep(RANDOM.uniform(0, 3))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    results = tmp_path_factory.mktemp("undisturbed")
    finished(results, "--workers", "2")
    found = table(results)
    assert len(found) == TRIALS
    assert (found["state"] == "done").all()
    return found


def check(results: Path, undisturbed: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(table(results), undisturbed)
    places = list(store.trials_folder(results / store.SWEEPS / "mine").iterdir())
    assert sorted(path.name for path in places) == sorted(undisturbed.index)  # none twice, none half-written
    trials, _ = grid.make_trials(
        {"dataset": "digits", "train_limit": 200, "epochs": "1,2", "batch_size": "64,256", "seed": "0:2"}
    )
    assert store.pending_trials(results / store.SWEEPS / "mine", trials) == []


def workers_of(client: psutil.Process) -> list[psutil.Process]:
    """Find the worker processes of a client: those that Dask spawned, not its helpers."""
    children = client.children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_workers_killed_at_random_times(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    process = command(tmp_path, "--workers", "2")
    client = psutil.Process(process.pid)
    killed = 0
    for after in 1, 4:
        wait_a_while(process, tmp_path, after)
        if process.poll() is None and (alive := workers_of(client)):
            alive[RANDOM.integers(len(alive))].kill()
            killed += 1
    assert killed
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out  # the client needed no second command
    check(tmp_path, undisturbed)


def test_the_client_killed_at_random_times(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    killed = 0
    for after in 0, 1, 4:
        process = command(tmp_path, "--workers", "2")
        wait_a_while(process, tmp_path, after)
        killed += process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert [child.cmdline() for child in alive] == []  # nothing goes on computing for nobody
    assert killed
    finished(tmp_path, "--workers", "2")
    check(tmp_path, undisturbed)


@contextmanager
def cluster_of(folder: Path, workers: int = 2) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a scheduler and workers, as on a cluster: processes that are not the client's children."""
    folder.mkdir()
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    started = [subprocess.Popen([*scheduler, "--scheduler-file", str(file)], **quiet)]  # type: ignore[call-overload]
    wait_until(file.exists)
    worker = [*dask, "worker", "--nthreads", "1", "--scheduler-file", str(file), "--worker-port", "0"]
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    started += [subprocess.Popen(worker, env=environment, **quiet) for _ in range(workers)]  # type: ignore[call-overload]
    try:
        yield str(pd.read_json(file, typ="series")["address"]), started
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
        for process in started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_the_scheduler_killed_at_random_times(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    results, killed = tmp_path / "results", 0
    for after in 1, 4:
        with cluster_of(tmp_path / f"cluster-{after}") as (address, processes):
            before = done(results)
            process = command(results, "--scheduler", address)
            wait_a_while(process, results, max(after, before + 1))  # it has found the scheduler
            alive = process.poll() is None
            processes[0].kill()
            out, _ = process.communicate(timeout=120)
            assert "Traceback" not in out
            if process.returncode == 0:  # all was done before it was killed
                assert done(results) == TRIALS
                continue
            assert alive, out
            killed += 1
            assert process.returncode == 1
            assert "the scheduler went away" in out
            assert "to resume, give the same command" in out
    assert killed
    with cluster_of(tmp_path / "cluster") as (address, _):
        finished(results, "--scheduler", address)
    check(results, undisturbed)


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    process = command(tmp_path, "--workers", "2")
    children: list[psutil.Process] = []
    wait_until(lambda: done(tmp_path) >= 1)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the client and all that it started
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in out
    assert "of 8 trials are done. To resume, give the same command." in out
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child.cmdline() for child in alive] == []
    finished(tmp_path, "--workers", "2")
    check(tmp_path, undisturbed)
