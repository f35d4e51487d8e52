"""What all tests share: no network, no data or results of the person who runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

pytest.register_assert_rewrite("tests.asking")

REAL_MNIST = os.environ.get("MNIST_DATA_DIR", "")
_NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("MNIST_RESULTS", str(home / "results"))
    monkeypatch.setenv("COLUMNS", "120")
    for name in "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY":
        monkeypatch.setenv(name, _NOWHERE)
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in "MNIST_DATA_DIR", "KERAS_HOME", "IMG_PATH", "MPLBACKEND":
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def real_mnist() -> Path:
    assert REAL_MNIST, "set MNIST_DATA_DIR to a folder with the real MNIST"
    return Path(REAL_MNIST).resolve()


@pytest.fixture
def client() -> TestClient:
    """Ask a server of its own in this process."""
    from fastapi.testclient import TestClient

    from mnist_utils import serving
    from tests.asking import MODEL

    return TestClient(serving.create_app(MODEL))


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
