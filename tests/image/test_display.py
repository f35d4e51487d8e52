"""matplotlib's windows, from inside the container on a screen of the host."""

from __future__ import annotations

import contextlib
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

from tests.image.conftest import UID, Workbench, docker

pytestmark = pytest.mark.image
NUMBER = 97


@dataclass(frozen=True)
class Screen:
    """An X server of this machine, and the file with its cookie."""

    cookie: Path
    number: int

    def windows(self) -> str:
        until = time.monotonic() + 20
        while True:
            try:
                return self._ask("xwininfo", "-root", "-tree").decode()
            except subprocess.CalledProcessError:  # a window that was in its list is closed before it asks for its name
                if time.monotonic() > until:
                    raise

    def picture(self, path: Path) -> np.ndarray:
        path.write_bytes(self._ask("import", "-window", "root", "png:-"))
        return np.asarray(Image.open(path).convert("RGB"))

    def _ask(self, *command: str) -> bytes:
        environment = {**os.environ, "DISPLAY": f":{self.number}", "XAUTHORITY": str(self.cookie)}
        return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=30).stdout


@contextlib.contextmanager
def server(number: int, cookie: Path, *names: str, options: tuple[str, ...] = ()) -> Iterator[Screen]:
    """Run Xvfb, which lets in nobody without the cookie unless an option says otherwise."""
    assert not Path(f"/tmp/.X11-unix/X{number}").exists(), f"another X server has the display :{number}"
    cookie.touch(0o600)
    key = secrets.token_hex(16)
    for name in f":{number}", *names:
        subprocess.run(["xauth", "-f", cookie, "add", name, ".", key], check=True, capture_output=True)
    os.chown(cookie, UID, UID)
    command = ["Xvfb", f":{number}", "-screen", "0", "1600x1100x24", "-auth", str(cookie), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not Path(f"/tmp/.X11-unix/X{number}").exists():
            assert process.poll() is None, "Xvfb ended"
            assert time.monotonic() < until
            time.sleep(0.1)
        yield Screen(cookie, number)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def screen(workbench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder = tmp_path_factory.mktemp("screen")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    os.chown(folder, UID, UID)  # xauth locks the file, beside it
    with server(NUMBER, folder / "xauthority", f"{gateway(workbench)}:{NUMBER}", options=("-listen", "tcp")) as made:
        yield made


def gateway(workbench: Workbench) -> str:
    """Return the address of this machine as its containers see it."""
    done = workbench.launcher("shell", "-c", f"python3 -c '{_GATEWAY}'")
    return done.stdout.strip()


_GATEWAY = """
for line in open("/proc/net/route").readlines()[1:]:
    _, to, by = line.split()[:3]
    if to == "00000000":
        print(".".join(str(int(by[i : i + 2], 16)) for i in (6, 4, 2, 0)))
"""


@contextlib.contextmanager
def shown(workbench: Workbench, screen: Screen, log: Path, **environment: str) -> Iterator[None]:
    """Open the reference run's figures as a person does, for as long as the block lasts; begin when one is on the screen."""
    with log.open("w") as file:
        process = workbench.start(workbench.path / "docker" / "lab", "show", "reference", log=file, cwd=None, **environment)
    try:
        until = time.monotonic() + 90
        while "reference: confusion matrix" not in screen.windows():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, screen.windows() + log.read_text()
            time.sleep(0.5)
        yield
    finally:
        for name in docker("ps", "--quiet", "--filter", "name=command-run").stdout.split():
            docker("rm", "--force", name)
        process.wait(20)
    assert "reference: confusion matrix" not in screen.windows()


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_the_confusion_matrix_is_a_window_on_the_screen(
    workbench: Workbench, screen: Screen, tmp_path: Path, way: str
) -> None:
    display = f":{NUMBER}" if way == "socket" else f"{gateway(workbench)}:{NUMBER}"
    log = tmp_path / "log"
    with shown(workbench, screen, log, DISPLAY=display, XAUTHORITY=str(screen.cookie)):
        assert f"windows: on the display {display}\n" in log.read_text()
        assert re.search(r'"reference: confusion matrix".* \d{3,4}x\d{3,4}', screen.windows())
        until = time.monotonic() + 30
        while True:  # until it is drawn
            picture = screen.picture(tmp_path / "screen.png").reshape(-1, 3)
            grey = (picture == 0xD9).all(axis=1).sum()  # the diagonal's cells
            if grey > 1000 and len(np.unique(picture, axis=0)) > 50:
                break
            assert time.monotonic() < until, f"{grey} grey pixels"
            time.sleep(0.5)


def test_a_display_that_knows_its_user_without_a_cookie_is_tried(workbench: Workbench, tmp_path: Path) -> None:
    """As several desktops' Xwayland, which knows its user by the socket; this server here lets in anybody."""
    number = NUMBER + 1
    with server(number, tmp_path / "xauthority", options=("-ac", "-nolisten", "tcp")) as screen:
        nobody = {"DISPLAY": f":{number}", "XAUTHORITY": str(tmp_path / "none")}
        said = workbench.launcher("display", cwd=workbench.path, timeout=120, **nobody)
        assert said.stdout == f"windows: on the display :{number}, without a cookie\n", said.stderr
        with shown(workbench, screen, tmp_path / "log", **nobody):
            pass


@pytest.mark.usefixtures("screen")
def test_without_the_cookie_no_window_opens_and_doctor_says_why(workbench: Workbench, tmp_path: Path) -> None:
    empty = tmp_path / "nothing"
    empty.touch()
    said = workbench.launcher("display", DISPLAY=f":{NUMBER}", XAUTHORITY=str(empty))
    why = f"xauth knows no cookie for the display :{NUMBER}, and without one no window opens"
    assert said.stdout.startswith(f"windows: none ({why})"), said.stdout
    sockets = ("-v", "/tmp/.X11-unix:/tmp/.X11-unix:ro", "-e", f"DISPLAY=:{NUMBER}")
    name = f"no-cookie-{os.getpid()}"
    done = docker(
        "run", "--name", name, *sockets, "mnist-workbench:lab", "mnist", "doctor", "display", "matplotlib", check=False
    )
    status = docker("inspect", "--format", "{{ .State.ExitCode }}", name).stdout.strip()  # podman's client forgets it
    docker("rm", name)
    assert status == "1"
    assert re.search(r"broken +display +the display :97 \(socket\) refuses a window", done.stdout), done.stdout
    assert "pass on a cookie that is valid there" in done.stdout
    assert re.search(r"missing +matplotlib +draws with agg", done.stdout)


def test_with_the_cookie_doctor_finds_windows(other: Workbench, screen: Screen) -> None:
    done = other.launcher("doctor", "display", "matplotlib", DISPLAY=f":{NUMBER}", XAUTHORITY=str(screen.cookie))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"ok +display +the display :97 \(socket\) accepts windows", done.stdout)
    assert re.search(r"ok +matplotlib +draws with tkagg", done.stdout, re.IGNORECASE)
