"""The checks of `mnist doctor`: what is available, what is missing, and the fix."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnist_utils import MnistError
from mnist_utils.data.sources import DataNotFoundError, find_copy
from mnist_utils.runs.find import list_runs

State = Literal["ok", "missing", "broken"]
_SECONDS = 3.0  # to wait for a display or for Lab
_PATIENCE = 30.0  # seconds for a new process, which may have to read all of matplotlib from a slow disk
_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "matplotlib", "jupyterlab", "papermill", "fastapi")
_INSTALL = "make setup makes an environment with all of them"


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes
    ----------
    name : str
        Of the thing, one of `CHECKS`.
    state : {"ok", "missing", "broken"}
        ``missing`` is what the workbench can do without, though not everything.
    what : str
        What was found.
    fix : str
        What to do about it; empty if it is ok.
    """

    name: str
    state: State
    what: str
    fix: str = ""


def run_check(name: str, results: Path, data_dir: Path | None = None) -> CheckResult:
    """Check one thing.

    Parameters
    ----------
    name : str
        One of `CHECKS`.
    results : Path
        Folder of all runs.
    data_dir : Path, optional
        Folder with MNIST's files.
    """
    if name == "mnist":
        return _mnist(data_dir)
    return _results(results) if name == "results" else _CHECKS[name]()


def _python() -> CheckResult:
    found = f"Python {platform.python_version()} in {sys.prefix}"
    if (3, 11) <= sys.version_info < (3, 14):
        return CheckResult("python", "ok", found)
    return CheckResult("python", "broken", found, "install Python 3.11, 3.12 or 3.13, then: make clean setup")


def _packages() -> CheckResult:
    versions = {name: version for name in _PACKAGES if (version := _installed_version(name))}
    missing = [name for name in _PACKAGES if name not in versions]
    if not missing:
        return CheckResult("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))
    needed = {"ai-edge-litert", "numpy"} & set(missing)  # with these alone one can predict
    return CheckResult("packages", "broken" if needed else "missing", f"not installed: {', '.join(missing)}", _INSTALL)


def _installed_version(name: str) -> str:
    """Return an installed package's version; TensorFlow is called tensorflow-cpu where it comes without CUDA."""
    for candidate in (name, f"{name}-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(candidate)
    return ""


def _cpu() -> CheckResult:
    from mnist_utils.training.precision import choose_precision

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:  # not Linux
        return CheckResult("cpu", "ok", f"{cores} cores, {platform.machine()}")
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_bf16": "AMX", "asimd": "NEON"}
    has = [word for flag, word in known.items() if flag in flags]
    units = ", ".join(has) or "no vector units known here"
    what = f"{cores} cores, {platform.machine()}, {units}; trains in {choose_precision('auto')}"
    if platform.machine() == "x86_64" and "avx2" not in flags:
        return CheckResult("cpu", "missing", what, "without AVX2 training takes several times as long")
    return CheckResult("cpu", "ok", what)


def _gpu() -> CheckResult:
    """Ask TensorFlow which GPUs it sees."""
    if importlib.util.find_spec("tensorflow") is None:
        return CheckResult("gpu", "missing", "TensorFlow is not installed", _INSTALL)
    found, error = _in_a_new_process("import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))")
    if error:
        return CheckResult("gpu", "broken", f"TensorFlow: {error}", _INSTALL)
    if found != "0":
        return CheckResult("gpu", "ok", f"TensorFlow sees {found} GPU{'' if found == '1' else 's'}")
    if Path("/dev/nvidiactl").exists():
        fix = "in the container: docker/lab --gpu; elsewhere: pip install 'tensorflow[and-cuda]==2.21.*'"
        return CheckResult("gpu", "missing", "an NVIDIA GPU is here, and TensorFlow does not see it", fix)
    return CheckResult("gpu", "ok", "TensorFlow sees none and trains on the processor")


def _mnist(data_dir: Path | None) -> CheckResult:
    try:
        where = find_copy("mnist", data_dir=data_dir)
    except DataNotFoundError as error:
        return CheckResult("mnist", "missing", *str(error).split("\n"))
    except (MnistError, OSError) as error:
        return CheckResult("mnist", "broken", str(error).replace("\n", " "), "replace it with an intact copy")
    if where:
        return CheckResult("mnist", "ok", f"found in {where}, its checksums are correct")
    fix = "mnist data --dataset mnist fetches it; or set MNIST_DATA_DIR to a folder that holds it"
    return CheckResult("mnist", "missing", "no copy on this machine; `digits` stands in for it", fix)


def _results(results: Path) -> CheckResult:
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        ids = f"as user {os.getuid()}" if hasattr(os, "getuid") else ""
        fix = "give it to you, or choose another by --results or MNIST_RESULTS; in the container, start it by docker/lab"
        return CheckResult("results", "broken", f"{results} cannot be written {ids}: {error.strerror}", fix)
    return CheckResult("results", "ok", f"{results} can be written, {len(list_runs(results))} runs")


def _display() -> CheckResult:
    """Reach the display that DISPLAY names, then open a window on it, which needs the cookie too."""
    display = os.environ.get("DISPLAY", "")
    if sys.platform == "darwin":
        return CheckResult("display", "ok", "macOS's own windows")
    if not display:
        fix = "on a machine with a screen docker/lab passes it on; figures are inline in Lab and in results/"
        return CheckResult("display", "missing", "DISPLAY is not set: no windows", fix)
    host, _, number = display.removeprefix("unix").rpartition(":")
    if not number.partition(".")[0].isdecimal():
        return CheckResult("display", "broken", f"DISPLAY: given {display!r}; allowed: [host]:number", "as in DISPLAY=:0")
    screen = int(number.partition(".")[0])
    try:
        where = _connect(host, screen)
    except (OSError, ValueError) as error:  # ValueError: no name of a host
        fix = "start the X server (on macOS: open -a XQuartz), or ask docker/lab display why it cannot be passed on"
        return CheckResult("display", "broken", f"no X server on {display}: {getattr(error, 'strerror', '') or error}", fix)
    if importlib.util.find_spec("_tkinter") is None:
        return CheckResult("display", "broken", f"{where} is available, but Python has no tkinter", "apt install python3-tk")
    _, refusal = _in_a_new_process("import tkinter; tkinter.Tk()")
    if refusal:
        cookie = os.environ.get("XAUTHORITY") or "not set"
        fix = f"pass on a cookie that is valid there, as docker/lab does; XAUTHORITY is {cookie}"
        return CheckResult("display", "broken", f"{where} refuses a window: {refusal}", fix)
    return CheckResult("display", "ok", f"{where} accepts windows")


def _connect(host: str, screen: int) -> str:
    """Connect to an X server as Xlib does, by its socket or by TCP; return how."""
    if host:
        socket.create_connection((host, 6000 + screen), timeout=_SECONDS).close()
        return f"the display {host}:{screen} (TCP)"
    path = f"/tmp/.X11-unix/X{screen}"  # noqa: S108 - where X servers put it
    with socket.socket(socket.AF_UNIX) as unix:
        unix.settimeout(_SECONDS)
        unix.connect(path)
    return f"the display :{screen} (socket)"


def _matplotlib() -> CheckResult:
    """Ask a new process which backend a figure really gets: matplotlib falls back to Agg in silence."""
    if importlib.util.find_spec("matplotlib") is None:
        return CheckResult("matplotlib", "missing", "not installed: no figures", _INSTALL)
    code = "canvas = plt.figure().canvas; print(plt.get_backend(), canvas.required_interactive_framework or '')"
    found, error = _in_a_new_process(f"import matplotlib.pyplot as plt; {code}")
    if error:
        return CheckResult(
            "matplotlib", "broken", error, f"MPLBACKEND is {os.environ.get('MPLBACKEND') or 'not set'}: unset it"
        )
    backend, _, framework = found.partition(" ")
    if framework:
        return CheckResult("matplotlib", "ok", f"draws with {backend}, in windows")
    fix = "fix the display, above" if not os.environ.get("MPLBACKEND") else "unset MPLBACKEND"
    return CheckResult("matplotlib", "missing", f"draws with {backend}: into files and inline in Lab, not in windows", fix)


def _in_a_new_process(code: str) -> tuple[str, str]:
    """Run Python code; return what it printed, and the last line of its error, if it failed."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return "", f"it did not end within {_PATIENCE:g} s"
    error = (done.stderr.strip() or "it ended without a word").splitlines()[-1] if done.returncode else ""
    return done.stdout.strip(), error


def _lab() -> CheckResult:
    if importlib.util.find_spec("jupyter_server") is None:
        return CheckResult("lab", "missing", "JupyterLab is not installed", _INSTALL)
    from jupyter_server.serverapp import list_running_servers

    servers = list(list_running_servers())
    if not servers:
        return CheckResult("lab", "missing", "no JupyterLab runs here", "make lab, or docker/lab with Docker")
    url = servers[0]["url"]
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{url}api", timeout=_SECONDS) as answer:
            version = json.load(answer)["version"]
    except (OSError, ValueError, KeyError) as error:
        return CheckResult(
            "lab", "broken", f"{url} is registered and does not respond: {error}", "stop it and start it again"
        )
    return CheckResult("lab", "ok", f"{url} responds (Jupyter server {version})")


_CHECKS: dict[str, Callable[[], CheckResult]] = {
    "python": _python,
    "packages": _packages,
    "cpu": _cpu,
    "gpu": _gpu,
    "display": _display,
    "matplotlib": _matplotlib,
    "lab": _lab,
}
CHECKS = ("python", "packages", "cpu", "gpu", "mnist", "results", "display", "matplotlib", "lab")
