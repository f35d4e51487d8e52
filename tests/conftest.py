"""What all tests share: no network, no data or results of the person who runs them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mnist_utils.cli import main

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from mnist_utils.data.datasets import Dataset
    from mnist_utils.runs.run import Run

pytest.register_assert_rewrite("tests.asking")

REAL_MNIST = os.environ.get("MNIST_DATA_DIR", "")
_NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once
Cli = Callable[..., tuple[int, str, str]]
TINY: dict[str, Any] = {"dataset": "digits", "train_limit": 200, "epochs": 2, "batch_size": 50}


def isolation(home: Path) -> dict[str, str | None]:
    """Say how the environment variables must be (None: unset), for processes that the tests start as well."""
    proxies = "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"
    unset = "MNIST_DATA_DIR", "KERAS_HOME", "IMG_PATH", "MPLBACKEND", "JUPYTER_PATH", "JUPYTER_DATA_DIR"
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "MNIST_RESULTS": str(home / "results"),
        "COLUMNS": "120",
        **dict.fromkeys(proxies, _NOWHERE),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
        **dict.fromkeys(unset),
    }


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolation(tmp_path_factory.mktemp("home")).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """Let garbage collections skip what is left of finished modules: Keras asks for one with each model."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command in this process: the arguments in; status, stdout and stderr out."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mnist", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    assert REAL_MNIST, "set MNIST_DATA_DIR to a folder with the real MNIST"
    return Path(REAL_MNIST).resolve()


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Load 200 training images of digits."""
    from mnist_utils.training.config import make_config
    from mnist_utils.training.fit import load_training_data

    return load_training_data(make_config(**TINY))[1]


@pytest.fixture(scope="session")
def tiny_run(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a tiny model once for all tests; they must not change its folder."""
    from mnist_utils.runs.record import record_run
    from mnist_utils.training.config import make_config

    return record_run(make_config(**TINY), tiny, "tiny", tmp_path_factory.mktemp("results"), progress=False)


@pytest.fixture
def client() -> TestClient:
    """Ask a server of its own in this process."""
    from fastapi.testclient import TestClient

    from mnist_utils.serving import app
    from tests.asking import MODEL

    return TestClient(app.create_app(MODEL))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, int]]:
    """Run a server in a process: its port, its process."""
    from tests.asking import start

    process, port = start()
    try:
        yield port, process.pid
    finally:
        process.kill()
        process.communicate()
