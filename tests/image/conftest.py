"""What the tests of the images share: `docker` with `compose`, whoever answers (see tests/image/engine)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.paths import CLONE

Done = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str]
UID = 4321  # of nobody who has a name in the image
PODMAN = "podman" in os.environ.get("DOCKER_HOST", "")
NAME = str(UID) if PODMAN else "mnist"  # podman names a number by itself, docker/start does where Docker does not
# What a person's shell has of this machine: how to reach the engine, and nothing of the tests' own.
ENGINE = {
    name: os.environ[name] for name in ("PATH", "DOCKER_HOST", "DOCKER_CONFIG", "CONTAINERS_CONF") if name in os.environ
}


def docker(*words: str, check: bool = True, timeout: float = 120, **environment: str) -> Done:
    """Run the docker client; its errors end the test with what it said."""
    done = subprocess.run(
        ["docker", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="session", autouse=True)
def images() -> None:
    """Fail, and never skip, where the images are not there."""
    for target in "lab", "serve":
        found = docker("image", "inspect", f"mnist-workbench:{target}", check=False)
        assert found.returncode == 0, (
            f"no image mnist-workbench:{target}: . tests/image/engine && tests/image/build {target}"
        )


@dataclass(frozen=True)
class Workbench:
    """A clone of a person's own, and what that person runs there."""

    path: Path
    environment: dict[str, str]

    def start(self, *command: str | Path, cwd: Path | None = None, log: Any = None, **environment: str) -> Process:
        """Start a command as the person, in the clone unless another folder is given; what it says goes into `log`."""
        socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
        who = ["setpriv", f"--reuid={UID}", f"--regid={UID}", f"--groups={socket.stat().st_gid}"]
        return subprocess.Popen(
            [*who, *command],
            stdin=subprocess.DEVNULL,
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
            env={**ENGINE, **self.environment, **environment},
            cwd=cwd or self.path,
        )

    def run(self, *command: str | Path, timeout: float = 120, cwd: Path | None = None, **environment: str) -> Done:
        """Run a command as the person, to its end."""
        process = self.start(*command, cwd=cwd, **environment)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{command} did not end within {timeout} s: {out}{err}") from None
        return Done(process.args, process.returncode, out, err)

    def launcher(self, *words: str, timeout: float = 120, cwd: Path | None = None, **environment: str) -> Done:
        """Run docker/lab."""
        return self.run(self.path / "docker" / "lab", *words, timeout=timeout, cwd=cwd, **environment)

    def compose(self, *words: str, check: bool = True, timeout: float = 120) -> Done:
        """Run docker compose by hand."""
        done = self.run("docker", "compose", "--file", "docker/compose.yaml", *words, timeout=timeout)
        assert not check or done.returncode == 0, f"docker compose {' '.join(words)}: {done.stdout}{done.stderr}"
        return done


def new_clone(path: Path, **environment: str) -> Workbench:
    """Make a clone that belongs to UID, without git; its image is the one that tests/image/build made."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".env")
    for folder in "docker", "mnist_utils", "notebooks", "results/reference":  # what docker/lab compares with the image
        shutil.copytree(CLONE / folder, path / folder, ignore=ignored)
    for name in "pyproject.toml", "LICENSE":
        shutil.copy(CLONE / name, path)
    (path / "work").mkdir()
    home = path.with_name(f"{path.name}'s home")
    home.mkdir()
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(path), str(home)], check=True)
    subprocess.run(["chmod", "755", *map(str, path.parents[:3])], check=True)
    # By hand, the person says who they are; docker/lab finds out.
    defaults = {"NB_UID": str(UID), "NB_GID": str(UID), "HOME": str(home)}
    return Workbench(path, {**defaults, "LAB_PORT": "18888", "SERVE_PORT": "15000", **environment})


def remove_containers(workbench: Workbench) -> None:
    """Remove a clone's containers, those of single commands among them."""
    settings = workbench.path / "docker" / ".env"
    for line in settings.read_text().splitlines() if settings.exists() else ():
        if line.startswith("COMPOSE_PROJECT_NAME="):
            project = line.partition("=")[2].strip('"')
            filters = ("--filter", f"label=com.docker.compose.project={project}")
            for name in docker("ps", "--all", "--quiet", *filters).stdout.split():
                docker("rm", "--force", name)


def end(workbench: Workbench) -> None:
    """Remove all that a clone has in the engine."""
    remove_containers(workbench)
    workbench.compose("down", "--volumes", "--timeout", "3", check=False)


@pytest.fixture(scope="session")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    made = new_clone(tmp_path_factory.mktemp("clone") / "Klön mit Platz")
    if PODMAN:  # Docker's socket is for a group; podman's for root alone
        subprocess.run(["chmod", "660", os.environ["DOCKER_HOST"].removeprefix("unix://")], check=True)
    yield made
    end(made)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Workbench]:
    """Make a clone in which nothing runs."""
    made = new_clone(tmp_path / "other", LAB_PORT="18899")
    yield made
    end(made)


@pytest.fixture(scope="session")
def lab(workbench: Workbench) -> str:
    """Start Lab by its launcher; its address, with the token."""
    done = workbench.launcher()
    assert done.returncode == 0, done.stderr
    address = done.stdout.splitlines()[0]
    assert address.startswith("http://127.0.0.1:18888/?token="), done.stdout
    return address


@pytest.fixture(scope="session")
def small_training(lab: str, workbench: Workbench) -> Path:  # noqa: ARG001 - Lab puts the copies there
    """Let the person's copy of the notebook that trains do so on the embedded digits, which need no network."""
    path = workbench.path / "work" / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, 4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'dataset: str = "auto"' in cell.source
    cell.source = cell.source.replace('dataset: str = "auto"', 'dataset: str = "digits"')
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    return path


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Ask a server; the status and the text, also of an error. Follows no redirection."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    request = urllib.request.Request(url, data, headers)  # noqa: S310
    try:
        with urllib.request.build_opener(Stay, urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def first_answer(url: str, process: Process | None = None, seconds: float = 60) -> tuple[int, str]:
    """Ask a server until it answers anything; the status and the text. Fails if its process ends before."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask(url)
        except OSError:
            assert process is None or process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, f"{url} did not answer within {seconds} s"
            time.sleep(0.2)


def wait_for(url: str, seconds: float = 30) -> None:
    """Wait until a server answers with 200."""
    until = time.monotonic() + seconds
    while True:
        try:
            if ask(url)[0] == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < until, f"{url} did not answer within {seconds} s"
        time.sleep(0.1)


def whole_runs(workbench: Workbench) -> dict[str, dict[str, object]]:
    """Read the metrics of the runs in the mounted results/, without the reference."""
    found = {path.parent.name: json.loads(path.read_text()) for path in workbench.path.glob("results/*/metrics.json")}
    return {name: metrics for name, metrics in found.items() if name != "reference"}
