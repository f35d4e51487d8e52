from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from mnist_utils.serving.testing import LocalServerError, running_server
from tests.paths import MODEL


def listens(address: str) -> bool:
    place = urlsplit(address)
    try:
        socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def test_answers_within_the_block_and_is_gone_after_it() -> None:
    with running_server(MODEL) as address:
        assert address.startswith("http://127.0.0.1:")
        assert requests.get(f"{address}/healthz", timeout=20).status_code == 200
        assert requests.get(f"{address}/version", timeout=20).json()["run"] == "reference"
    assert not listens(address)


def test_a_block_that_fails_stops_the_server_too() -> None:
    addresses = []

    def fail() -> None:
        with running_server(MODEL) as address:
            assert listens(address)
            addresses.append(address)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not listens(addresses[0])


def test_what_the_server_complains_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"did not come up: mnist: there is no model file .*nosuch\.tflite"):
        running_server(tmp_path / "nosuch.tflite").__enter__()


def test_a_server_that_is_too_slow_is_ended() -> None:
    with pytest.raises(LocalServerError, match=r"silent for 0\.01 s"), running_server(MODEL, seconds=0.01):
        pass
