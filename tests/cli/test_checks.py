from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from mnist_utils.cli import checks
from tests.conftest import Cli

X11 = 10_000  # no real display has such a number


def find(name: str, results: Path = Path("nowhere")) -> tuple[str, str]:
    finding = checks.run_check(name, results)
    assert finding.name == name
    assert bool(finding.fix) == (finding.state != "ok")
    return finding.state, finding.what


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in "DISPLAY", "XAUTHORITY", "MPLBACKEND", "WAYLAND_DISPLAY":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))


def test_this_environment_is_in_order() -> None:
    state, what = find("python")
    assert (state, what.split()[1]) == ("ok", ".".join(map(str, sys.version_info[:3])))
    state, what = find("packages")
    assert state == "ok"
    assert f"numpy {np.__version__}" in what
    assert "tensorflow 2.21" in what
    assert find("cpu")[0] == "ok"


def test_what_tensorflow_sees_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("gpu") == ("ok", "TensorFlow sees none and trains on the processor")
    monkeypatch.setattr(checks, "_in_a_new_process", lambda _: ("2", ""))
    assert find("gpu") == ("ok", "TensorFlow sees 2 GPUs")
    monkeypatch.setattr(checks, "_in_a_new_process", lambda _: ("", "no AVX"))
    assert find("gpu") == ("broken", "TensorFlow: no AVX")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PACKAGES", ("numpy", "no-such-package"))
    assert find("packages") == ("missing", "not installed: no-such-package")
    monkeypatch.setattr(checks, "_PACKAGES", ("ai-edge-litert", "numpy"))
    monkeypatch.setattr(checks, "_installed_version", lambda name: "" if name == "numpy" else "2")
    assert find("packages") == ("broken", "not installed: numpy")  # without it nothing works


def test_mnist_is_found_without_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mnist_utils.data.sources._download", lambda *_: pytest.fail("it downloads"))
    state, what = find("mnist")
    assert (state, what) == ("missing", "no copy on this machine; `digits` stands in for it")
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path))
    (tmp_path / "mnist.npz").write_bytes(b"no archive")
    state, what = find("mnist")
    assert state == "broken"
    assert str(tmp_path / "mnist.npz") in what


def test_a_folder_that_is_named_is_the_only_one_looked_into(tmp_path: Path) -> None:
    found = checks.run_check("mnist", tmp_path, tmp_path / "typo")
    assert (found.state, found.what) == (
        "missing",
        f"data_dir: there is no mnist in {tmp_path / 'typo'}, which does not exist.",
    )
    assert found.fix.startswith("Give the folder that holds the four IDX files")


def test_results_are_written_to_and_left_as_they_were(tmp_path: Path) -> None:
    assert find("results", tmp_path) == ("ok", f"{tmp_path} can be written, 0 runs")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    state, what = find("results", tmp_path / "file")
    assert state == "broken"
    assert "file cannot be written" in what


@pytest.mark.parametrize(
    ("display", "state", "what"),
    [
        ("", "missing", "DISPLAY is not set: no windows"),
        ("nonsense", "broken", "DISPLAY: given 'nonsense'; allowed: [host]:number"),
        (":²", "broken", "DISPLAY: given ':²'; allowed: [host]:number"),
        (f":{X11}", "broken", f"no X server on :{X11}: No such file or directory"),
        ("127.0.0.1:59", "broken", "no X server on 127.0.0.1:59: Connection refused"),
    ],
)
def test_a_display_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, display: str, state: str, what: str) -> None:
    monkeypatch.setenv("DISPLAY", display)
    assert find("display") == (state, what)


def test_a_display_that_answers_but_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{listener.getsockname()[1] - 6000}")
        state, what = find("display")
        listener.shutdown(socket.SHUT_RDWR)
    assert state == "broken"
    assert "(TCP) refuses a window: " in what
    assert "TclError" in what


def test_a_display_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{silent.getsockname()[1] - 6000}")
        state, what = find("display")
    assert state == "broken"
    assert what.endswith("(TCP) refuses a window: it did not end within 1 s")


@pytest.mark.parametrize("host", [".", "a..b"])
def test_a_display_on_no_host(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DISPLAY", f"{host}:0")
    state, what = find("display")
    assert state == "broken"
    assert what.startswith(f"no X server on {host}:0: ")


def test_matplotlib_tells_what_it_would_do_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("matplotlib") == ("missing", "draws with agg: into files and inline in Lab, not in windows")
    monkeypatch.setenv("MPLBACKEND", "svg")
    assert find("matplotlib") == ("missing", "draws with svg: into files and inline in Lab, not in windows")
    monkeypatch.setenv("MPLBACKEND", "nosuch")
    state, what = find("matplotlib")
    assert state == "broken"
    assert "nosuch" in what


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "2.0"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Answer) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def test_lab_is_asked(server: HTTPServer, tmp_path: Path) -> None:
    assert find("lab") == ("missing", "no JupyterLab runs here")
    (tmp_path / "runtime").mkdir()
    url = f"http://127.0.0.1:{server.server_port}/"
    (tmp_path / "runtime" / "jpserver-1.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
    assert find("lab") == ("ok", f"{url} responds (Jupyter server 2.0)")
    server.shutdown()
    server.server_close()
    state, what = find("lab")
    assert state == "broken"
    assert "does not respond" in what


def test_the_command_exits_with_1_where_the_named_thing_is_not_ok(mnist: Cli, tmp_path: Path) -> None:
    status, out, _ = mnist("doctor", "python", "results", "--results", str(tmp_path))
    assert (status, [line.split()[:2] for line in out.splitlines()]) == (0, [["ok", "python"], ["ok", "results"]])
    status, out, _ = mnist("doctor", "display", "--json")
    assert status == 1
    assert json.loads(out)[0]["state"] == "missing"
    status, out, err = mnist("doctor", "nosuch")
    assert (status, out) == (2, "")
    assert "given nosuch; allowed: python, packages, cpu, gpu, mnist, results, display, matplotlib, lab" in err


@pytest.mark.parametrize(("state", "named", "unnamed"), [("ok", 0, 0), ("missing", 1, 0), ("broken", 1, 1)])
def test_without_a_name_only_what_is_broken_counts(
    state: checks.State, named: int, unnamed: int, mnist: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "run_check", lambda name, *_: checks.CheckResult(name, state, "found this", "do that"))
    assert mnist("doctor", "display")[0] == named
    status, out, _ = mnist("doctor")
    assert (status, out.count("found this")) == (unnamed, len(checks.CHECKS))


def test_it_needs_no_tensorflow() -> None:
    code = (
        "import sys; from mnist_utils.cli import checks; checks.run_check('packages', None)\n"
        "print('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
