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

import nbformat
import pytest

CLONE = Path(__file__).parent.parent.parent
UID = 4321  # of nobody who has a name in the image


def docker(*words: str, check: bool = True, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
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
    """A clone of its own, whose folders belong to UID, and its containers."""

    path: Path
    environment: dict[str, str]

    def compose(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run docker compose."""
        file = str(self.path / "docker" / "compose.yaml")
        return docker("compose", "--file", file, *words, check=check, timeout=timeout, **self.environment)

    def launcher(self, *words: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run docker/lab."""
        command = [str(self.path / "docker" / "lab"), *words]
        variables = {**os.environ, **self.environment, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=variables, check=False)


@pytest.fixture(scope="session")
def workbench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    path = tmp_path_factory.mktemp("clone")
    # All that docker/lab compares with the image, or it would build it again.
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for folder in "docker", "mnist_utils", "notebooks", "results/reference":
        shutil.copytree(CLONE / folder, path / folder, ignore=ignored)
    for file in "pyproject.toml", "requirements.lock":
        shutil.copy(CLONE / file, path)
    for folder in "notebooks", "results":
        subprocess.run(["chown", "-R", str(UID), str(path / folder)], check=True)
    subprocess.run(["chmod", "755", *map(str, path.parents[:2]), str(path)], check=True)
    environment = {
        "COMPOSE_PROJECT_NAME": f"mnist-test-{os.getpid()}",
        "SUDO_UID": str(UID),  # the launcher takes it, as these tests run as root
        "SUDO_GID": str(UID),
        "NB_UID": str(UID),
        "NB_GID": str(UID),
        "LAB_PORT": "18888",
        "SERVE_PORT": "15000",
        "MNIST_DATA_DIR": "",
        "DISPLAY": "",
    }
    yield (made := Workbench(path, environment))
    made.compose("down", "--volumes", "--timeout", "3", check=False)


@pytest.fixture(scope="session")
def small_training(workbench: Workbench) -> Path:
    """Let the notebook that trains do so on the embedded digits, which need no network."""
    path = workbench.path / "notebooks" / "02_train.ipynb"
    notebook = nbformat.read(path, 4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'dataset: str = "auto"' in cell.source
    cell.source = cell.source.replace('dataset: str = "auto"', 'dataset: str = "digits"')
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="session")
def lab(workbench: Workbench) -> str:
    """Start Lab by its launcher; its address, with the token."""
    done = workbench.launcher()
    assert done.returncode == 0, done.stderr
    address = done.stdout.splitlines()[0]
    assert address.startswith("http://127.0.0.1:18888/lab?token="), done.stdout
    return address


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
