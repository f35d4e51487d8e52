from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from distributed import Client, Future
from distributed.comm import CommClosedError

from mnist_utils.experiments import grid, runner, store
from mnist_utils.experiments.grid import Trial
from mnist_utils.experiments.store import SweepError
from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import run_lock
from tests.conftest import Cli
from tests.lazy import lazy

if TYPE_CHECKING:
    from mnist_utils.training import checkpoint
    from mnist_utils.training import epochs as training_epochs
else:
    checkpoint = lazy("mnist_utils.training.checkpoint")
    training_epochs = lazy("mnist_utils.training.epochs")

SMALL = {"dataset": "digits", "epochs": 1, "train_limit": 200}


def trials(**given: Any) -> list[Trial]:
    return grid.make_trials(SMALL | given)[0]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with runner.local_cluster(1) as client:
        yield client


def test_trials_are_trained_once(client: Client, tmp_path: Path) -> None:
    both = trials(seed="0:2")
    runner.run_trials(client, both, tmp_path, progress=False)
    assert store.pending_trials(tmp_path, both) == []
    run = read_run(both[0].key, store.trials_folder(tmp_path))
    assert run.facts["config"] == both[0].config.model_dump()
    assert (run.path / "model.keras").is_file()
    assert not list(run.path.rglob("checkpoint.npz"))
    assert {path.name for path in store.trials_folder(tmp_path).iterdir()} == {trial.key for trial in both}
    assert [path.name for path in tmp_path.iterdir()] == ["trials"]
    before = (run.path / "metrics.json").stat().st_mtime_ns
    runner.run_trials(client, both, tmp_path, progress=False)  # nothing is left to do
    assert (run.path / "metrics.json").stat().st_mtime_ns == before


def test_a_trial_that_fails_says_why_and_stops_no_other(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = trials(seed="0:2")
    bad = Trial(bad.key, bad.config.model_copy(update={"learning_rate": 1e30}), bad.sha256)  # past TrainConfig's check
    runner.run_trials(client, [bad, good], tmp_path, retries=1)
    assert store.pending_trials(tmp_path, [bad, good]) == [bad]
    run = store.read_trials(tmp_path, [bad])[bad.key]
    assert "the loss is no longer a number" in run.incomplete
    assert "seed 0: the loss is no longer a number" in capsys.readouterr().err


def test_other_data_than_meant_is_a_failure(client: Client, tmp_path: Path) -> None:
    (one,) = trials()
    one = Trial(one.key, one.config, "0" * 64)
    runner.run_trials(client, [one], tmp_path, retries=0, progress=False)
    run = store.read_trials(tmp_path, [one])[one.key]
    assert re.match(r"the worker on \S+ has a digits of SHA-256 [0-9a-f]{12}\.\.\.,", run.incomplete)
    assert "not 000000000000..." in run.incomplete
    assert not run.facts  # it was not trained on


def test_a_trial_resumes_where_its_worker_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = trials(epochs=2)
    begun = threading.Event()

    def save_and_die(*arguments: Any) -> None:
        checkpoint.save_checkpoint(*arguments)
        begun.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("mnist_utils.training.fit.save_checkpoint", save_and_die)
    train = partial(runner.train_trial, one.key, one.config, one.sha256, tmp_path, data_dir=None)
    with store.shared_token(tmp_path) as token:
        with pytest.raises(KeyboardInterrupt):
            train(token=token)
        assert begun.is_set()
        assert read_run(one.key, store.trials_folder(tmp_path)).epochs_done == 1
        monkeypatch.undo()
        epochs, epoch_images = list[int](), training_epochs.epoch_images

        def remember(*arguments: Any, **options: Any) -> Any:
            epochs.append(arguments[-1])
            return epoch_images(*arguments, **options)

        monkeypatch.setattr("mnist_utils.training.fit.epoch_images", remember)
        assert train(token=token) == b""
    assert epochs == [1]  # counted from 0: the second only
    assert store.pending_trials(tmp_path, [one]) == []


def test_a_worker_without_the_sweeps_folder_sends_its_run(tmp_path: Path) -> None:
    (one,) = trials()
    packed = runner.train_trial(one.key, one.config, one.sha256, tmp_path, "not-here", None)
    assert list(tmp_path.iterdir()) == []
    assert store.store_trial(tmp_path, one.key, packed).config == one.config


class WebServer(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


ASK = """
import sys
from mnist_utils.experiments import runner
runner._FIRST_REPLY_SECONDS = 1
for address in sys.argv[1:]:
    try:
        with runner.connect_cluster(address):
            print("connected")
    except runner.SweepError as error:
        print(error)
"""


def test_what_is_no_scheduler_is_told_of_in_time() -> None:
    """In a process of its own, which must end: where Dask never comes back, a thread stays and disturbs other tests."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WebServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        addresses = [
            "tcp://127.0.0.1:9",
            "nonsense://x",
            "host",
            "tls://127.0.0.1:9",
            f"tcp://127.0.0.1:{server.server_port}",
        ]
        asked = [sys.executable, "-c", ASK, *addresses]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=100)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(addresses)
    for address, line in zip(addresses, lines, strict=True):
        words = "tls needs certificates" if address.startswith("tls") else "there is no scheduler"
        assert line.startswith(f"scheduler: given {address}; {words}"), line


def test_workers_listen_on_loopback_with_tls_and_end_with_the_block() -> None:
    others = psutil.Process().children(recursive=True)
    with runner.local_cluster(1) as client:
        address = client.scheduler.address
        children = [child for child in psutil.Process().children(recursive=True) if child not in others]
        sockets = [one for process in (psutil.Process(), *children) for one in process.net_connections("inet")]
    assert {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert address.startswith("tls://127.0.0.1:")
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert [process.cmdline() for process in alive if "resource_tracker" not in str(process.cmdline())] == []


def test_the_command_sweeps_resumes_and_prints_a_table(mnist: Cli, tmp_path: Path) -> None:
    arguments = ["sweep", "--results", str(tmp_path), "--name", "mine", "--retries", "0"]
    for name, value in SMALL.items():
        arguments += ["-p", name, str(value)]
    arguments += ["-p", "seed", "0:2"]
    status, out, err = mnist(*arguments)
    assert status == 0
    assert "2 trials, 2 of them to train" in err
    assert "its test accuracy" in out
    folder = tmp_path / store.SWEEPS / "mine"
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "table.csv", "report.html", "trials"}
    status, again, err = mnist(*arguments)
    assert (status, again) == (0, out)
    assert "2 trials, 0 of them to train" in err
    with run_lock(folder, "mine"):
        status, _, err = mnist(*arguments)
    assert status != 0
    assert "another process is using sweep mine; wait for it, or choose another name (--name)" in err
    status, _, err = mnist("sweep", "--results", str(tmp_path))
    assert (status, err) == (2, "mnist: nothing to vary: give at least one parameter with its values, as in -p seed 0:5\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "seed", "0", "-p", "seed", "1"], "seed: given twice; allowed: once, with all its values: -p seed A,B"),
        (["-p", "seed", "0:2", "--workers", "2", "--scheduler", "tcp://h:1"], "workers: given 2 with a scheduler"),
        (["-p", "seed", "0:2", "--name", "../x"], "name: given '../x'; allowed: up to 100 letters"),
        (["-p", "dataset", "digits", "-p", "train_limit", "200,9999"], "train_limit: given 9999; allowed"),
    ],
)
def test_a_bad_command_is_refused_in_a_line(arguments: list[str], words: str, mnist: Cli, tmp_path: Path) -> None:
    status, _, err = mnist("sweep", "--results", str(tmp_path / "results"), *arguments)
    assert status != 0
    assert err.startswith(f"mnist: {words}")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("sweep.json"))


def test_a_map_keeps_the_order_and_uses_other_processes() -> None:
    with runner.parallel_map(1) as each:
        assert each is map
    with runner.parallel_map(2) as each:
        assert list(each(pow, [2, 3, 4], iter([5, 6, 7]))) == [2**5, 3**6, 4**7]
        assert os.getpid() not in set(each(_pid, range(4)))
        with pytest.raises(ZeroDivisionError):
            list(each(divmod, [1], [0]))


def _pid(_: int) -> int:
    return os.getpid()


def test_a_scheduler_that_dies_while_a_run_is_on_its_way_is_no_traceback(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = trials()

    def gone(_: Future[Any], **__: Any) -> None:
        raise CommClosedError

    monkeypatch.setattr(Future, "result", gone)
    monkeypatch.setattr(runner, "train_trial", _nothing)
    with pytest.raises(SweepError, match="the scheduler went away"):
        runner.run_trials(client, [one], tmp_path, progress=False)
    assert store.pending_trials(tmp_path, [one]) == [one]


def _nothing(*_: Any, **__: Any) -> bytes:
    return b""


def test_ranges_of_a_yaml_file_stay_ranges(mnist: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("seed: 1:5\nconv_dropout: [0, 0.25]\ndataset: digits\n")
    asked: dict[str, Any] = {}

    def trials(given: dict[str, Any], **_: Any) -> None:
        asked.update(given)
        raise SweepError("seen")

    monkeypatch.setattr(grid, "make_trials", trials)
    assert mnist("sweep", "-f", str(file))[0] == 1
    assert asked == {"seed": "1:5", "conv_dropout": ["0", "0.25"], "dataset": "digits"}  # YAML's own 1:5 is 65
