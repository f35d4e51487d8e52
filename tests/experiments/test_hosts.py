"""A sweep over hosts of their own, in network namespaces with no file system in common use: one is cut off in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_utils.experiments import store
from tests.experiments.test_kills import TRIALS, check, command, done, undisturbed, wait_until

__all__ = ["undisturbed"]  # a fixture

pytestmark = pytest.mark.kills

BRIDGE, NETWORK, HOSTS = "mnist-sweep", "10.97.13", 2


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Make hosts that reach this one, and nothing else, through a bridge."""
    names = [f"{BRIDGE}-{n}" for n in range(HOSTS)]
    remove(names)  # what a test that was killed left
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for n, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"veth-sweep{n}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"veth-sweep{n}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{n + 2}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        remove(names)


def remove(names: list[str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


def test_a_host_cut_off_in_the_middle_of_a_sweep(tmp_path: Path, hosts: list[str], undisturbed: object) -> None:
    environment = os.environ | {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        # 30 s by default, until a silent host counts as gone; Dask allows no less than 11.
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
    }
    log = (tmp_path / "dask.log").open("w")
    started: list[subprocess.Popen[Any]] = []

    def start(*arguments: str, host: str = "", **own: str) -> subprocess.Popen[bytes]:
        within = ["ip", "netns", "exec", host] if host else []
        command = [*within, sys.executable, "-m", "dask", *arguments]
        started.append(subprocess.Popen(command, env=environment | own, stdout=log, stderr=log, cwd=tmp_path))
        return started[-1]

    address = f"tcp://{NETWORK}.1:8786"
    try:
        start("scheduler", "--host", f"{NETWORK}.1", "--dashboard-address", "127.0.0.1:0")
        for n, host in enumerate(hosts):
            home = tmp_path / f"home-{n}"  # nothing that one host writes is read by another
            home.mkdir()
            start("worker", address, "--nthreads", "1", host=host, HOME=str(home), TMPDIR=str(home))
        process = command(tmp_path / "results", "--scheduler", address)
        started.append(process)
        wait_until(lambda: done(tmp_path / "results") >= 2 or process.poll() is not None)
        assert process.poll() is None
        ip("link", "set", "veth-sweep0", "down")  # no goodbye: nothing comes from there any more
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        assert done(tmp_path / "results") == TRIALS
    finally:
        for one in reversed(started):
            one.terminate()
        for one in started:
            try:
                one.wait(timeout=20)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        log.close()
    check(tmp_path / "results", undisturbed)  # type: ignore[arg-type]
    assert (tmp_path / "results" / store.SWEEPS).is_dir()
