from __future__ import annotations

from pathlib import Path

import pytest
import requests

from mnist_utils.serving.testing import LocalServerError, running_server
from tests.asking import MODEL, listens


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_answers_within_the_block_and_is_gone_after_it() -> None:
    with running_server(MODEL) as address:
        assert address.startswith("http://127.0.0.1:")
        assert requests.get(f"{address}/healthz", timeout=60).status_code == 200
        assert requests.get(f"{address}/version", timeout=60).json()["run"] == "reference"
    assert not listens(port_of(address))


def test_a_block_that_fails_stops_the_server_too() -> None:
    addresses = []

    def fail() -> None:
        with running_server(MODEL) as address:
            assert listens(port_of(address))
            addresses.append(address)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not listens(port_of(addresses[0]))


def test_what_the_server_complains_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocalServerError, match=r"did not come up: mnist: there is no model file .*nosuch\.tflite"):
        running_server(tmp_path / "nosuch.tflite").__enter__()


def test_a_server_that_is_too_slow_is_ended() -> None:
    with pytest.raises(LocalServerError, match=r"silent for 0\.01 s"), running_server(MODEL, seconds=0.01):
        pass
