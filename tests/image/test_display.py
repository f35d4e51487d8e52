"""matplotlib's windows, from inside the container on a screen of the host."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.image.conftest import Workbench, docker

pytestmark = pytest.mark.image
NUMBER = 97


@dataclass(frozen=True)
class Screen:
    """An X server of this machine, and the file with its cookie."""

    cookie: Path

    def windows(self) -> str:
        return self._ask("xwininfo", "-root", "-tree").decode()

    def picture(self, path: Path) -> np.ndarray:
        path.write_bytes(self._ask("import", "-window", "root", "png:-"))
        return np.asarray(Image.open(path).convert("RGB"))

    def _ask(self, *command: str) -> bytes:
        environment = {**os.environ, "DISPLAY": f":{NUMBER}", "XAUTHORITY": str(self.cookie)}
        return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=30).stdout


@pytest.fixture(scope="module")
def screen(workbench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    """Start Xvfb, which listens on its socket and on TCP, and lets in nobody without the cookie."""
    cookie = tmp_path_factory.mktemp("screen") / "xauthority"
    cookie.touch(0o600)
    for name in f":{NUMBER}", f"{gateway(workbench)}:{NUMBER}":
        subprocess.run(["xauth", "-f", cookie, "add", name, ".", key()], check=True, capture_output=True)
    server = ["Xvfb", f":{NUMBER}", "-screen", "0", "1600x1100x24", "-listen", "tcp", "-auth", str(cookie)]
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while not Path(f"/tmp/.X11-unix/X{NUMBER}").exists():
        assert process.poll() is None, "Xvfb ended"
        assert time.monotonic() < until
        time.sleep(0.1)
    yield Screen(cookie)
    process.terminate()
    process.wait(10)


_KEY = secrets.token_hex(16)


def key() -> str:
    return _KEY


def gateway(workbench: Workbench) -> str:
    """Return the address of this machine as its containers see it."""
    return workbench.compose("run", "--rm", "-T", "lab", "python3", "-c", _GATEWAY).stdout.strip()


_GATEWAY = """
for line in open("/proc/net/route").readlines()[1:]:
    _, to, by = line.split()[:3]
    if to == "00000000":
        print(".".join(str(int(by[i : i + 2], 16)) for i in (6, 4, 2, 0)))
"""


def show(workbench: Workbench, display: str, cookie: Path, log: Path) -> subprocess.Popen[bytes]:
    """Open the reference run's figures as a user does; what the launcher says goes into `log`."""
    environment = {**os.environ, **workbench.environment, "DISPLAY": display, "XAUTHORITY": str(cookie)}
    command = [str(workbench.path / "docker" / "lab"), "show", "reference"]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_the_confusion_matrix_is_a_window_on_the_screen(
    workbench: Workbench, screen: Screen, tmp_path: Path, way: str
) -> None:
    log = tmp_path / "log"
    process = show(workbench, f":{NUMBER}" if way == "socket" else f"{gateway(workbench)}:{NUMBER}", screen.cookie, log)
    try:
        until = time.monotonic() + 90
        while "reference: confusion matrix" not in screen.windows():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, screen.windows()
            time.sleep(0.5)
        time.sleep(2)  # until it is drawn
        assert re.search(r'"reference: confusion matrix".* \d{3,4}x\d{3,4}', screen.windows())
        colours, counts = np.unique(screen.picture(tmp_path / "screen.png").reshape(-1, 3), axis=0, return_counts=True)
        grey = counts[(colours == 0xD9).all(axis=1)].sum()  # the diagonal's cells
        assert grey > 1000
        assert len(colours) > 50
    finally:
        workbench.compose("kill", "--remove-orphans", check=False)
        for name in docker(
            "ps", "--quiet", "--filter", f"name={workbench.environment['COMPOSE_PROJECT_NAME']}-lab-run"
        ).stdout.split():
            docker("rm", "--force", name)
        process.wait(20)
    assert "reference: confusion matrix" not in screen.windows()


@pytest.mark.usefixtures("screen")
def test_without_the_cookie_no_window_opens_and_doctor_says_why(workbench: Workbench, tmp_path: Path) -> None:
    empty = tmp_path / "nothing"
    empty.touch()
    said = workbench.launcher("display", DISPLAY=f":{NUMBER}", XAUTHORITY=str(empty))
    assert said.stdout.startswith(f"windows: none (xauth knows no cookie for the display :{NUMBER})")
    sockets = ("-v", "/tmp/.X11-unix:/tmp/.X11-unix:ro", "-e", f"DISPLAY=:{NUMBER}")
    name = f"no-cookie-{os.getpid()}"
    done = docker(
        "run", "--name", name, *sockets, "mnist-workbench:lab", "mnist", "doctor", "display", "matplotlib", check=False
    )
    status = docker("inspect", "--format", "{{ .State.ExitCode }}", name).stdout.strip()  # podman's client forgets it
    docker("rm", name)
    assert status == "1"
    assert re.search(r"broken +display +the display :97 \(socket\) answers, and refuses a window", done.stdout), done.stdout
    assert "pass on a cookie that is valid there" in done.stdout
    assert re.search(r"missing +matplotlib +draws with agg", done.stdout)


def test_with_the_cookie_doctor_finds_windows(workbench: Workbench, screen: Screen) -> None:
    done = workbench.launcher("doctor", "display", "matplotlib", DISPLAY=f":{NUMBER}", XAUTHORITY=str(screen.cookie))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok +display +the display :97 \(socket\) accepts windows", done.stdout)
    assert re.search(r"ok +matplotlib +draws with tkagg", done.stdout, re.IGNORECASE)
