"""How many requests a second `mnist serve` answers, and how fast, beside the way of an earlier system, "A".

python -m benchmarks.serving [--seconds 3] [--write]

Prints Markdown; --write puts it into RESULTS.md. Takes about six minutes. All servers run all the time; each number of
connections is measured with all of them in turn, so that other work on the machine disturbs all alike.

The load is wrk's: one process in C that takes little from the cores that it shares with the servers. For a given
load, its script (serving.lua) lets many connections send at random, each for itself, so that a slow answer keeps no other
request back (no coordinated omission). The times of a closed loop are corrected for that by wrk itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results import write
from mnist_utils.data.datasets import load_dataset
from mnist_utils.runs.environment import cpu_name
from tests.pictures import KINDS

HERE = Path(__file__).parent
A = "A"
SERVERS = {
    "1 worker": ["mnist_utils.cli.main", "serve", "--port"],
    "2 workers": ["mnist_utils.cli.main", "serve", "--workers", "2", "--port"],
    A: ["benchmarks.flask_peer"],
}
PICTURES = {"28x28, white on black": "as_is", "300x260, black on white": "black_on_white"}
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64)
PAUSE, MOST = 0.7, 256  # at a given load: seconds between two requests of a connection, on average; connections
QUIET = 3  # seconds at its end, for the last answers; with a pause below uvicorn's keep-alive time-out of 5


@dataclass(frozen=True)
class Load:
    """What wrk reports; times in milliseconds."""

    answers: int
    seconds: float
    p50: float
    p99: float
    failed: int  # statuses of 400 or more
    broken: int  # connections, reads, writes, time-outs
    sent: int
    promised: int  # answers 503 with Retry-After
    statuses: dict[str, int] = field(default_factory=dict)  # at a given load only; "0" are answers 200 without Success

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.answers - self.failed) / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=3, help="for each of ours; A gets more, to answer anything")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing; on Debian and Ubuntu: apt install wrk")
    with tempfile.TemporaryDirectory() as folder:
        report = _measure(Path(folder), options.seconds)
    print(report)
    if options.write:
        write("python -m benchmarks.serving --write", report)


def _measure(folder: Path, seconds: int) -> str:
    begun, busy = time.monotonic(), os.getloadavg()[0]
    lines = [
        f"{cpu_name()}, {os.cpu_count()} cores, which the servers share with wrk; load average before it: {busy:.1f}; "
        f"Python {platform.python_version()}. Network: the committed reference run. {seconds} s for each number of ours.",
    ]
    with _servers() as ports:
        for title, kind in PICTURES.items():
            bodies, labels = _bodies(folder, kind)
            right = {name: _right(port, bodies, labels) for name, port in ports.items()}
            closed = {
                (name, connections): _wrk(port, bodies, connections, seconds * (3 if name == A else 1))
                for connections in CONNECTIONS
                for name, port in ports.items()
            }
            lines += ["", f"**{title}** (`{kind}` of tests/pictures.py, one of each digit of `digits`)", ""]
            lines += [f"Right of {len(labels)}: " + ", ".join(f"{name} {count}" for name, count in right.items()) + ".", ""]
            lines += _closed_table(closed, list(ports))
            lines += ["", *_open_table(ports, bodies, 2 * seconds)]
    lines += ["", f"The run took {time.monotonic() - begun:.0f} s."]
    return "\n".join(lines) + "\n"


def _closed_table(closed: dict[tuple[str, int], Load], names: list[str]) -> list[str]:
    """Say what was answered with each number of connections."""
    lines = [f"| connections | {' | '.join(f'{name}: 1/s, p50, p99' for name in names)} | best of ours / A |"]
    lines += ["|---:" * (len(names) + 2) + "|"]
    for connections in CONNECTIONS:
        loads = {name: closed[name, connections] for name in names}
        ours = max(load.rate for name, load in loads.items() if name != A)
        cells = " | ".join(_cell(load) for load in loads.values())
        ratio = f"{ours / loads[A].rate:.0f}" if loads[A].answers >= 20 else "A answered too little"
        lines.append(f"| {connections} | {cells} | {ratio} |")
    best = {name: max(closed[name, connections].rate for connections in CONNECTIONS) for name in names}
    lines.append(
        f"| best | {' | '.join(f'{best[name]:.0f}' for name in names)} "
        f"| {max(rate for name, rate in best.items() if name != A) / best[A]:.0f} |"
    )
    return lines


def _cell(load: Load) -> str:
    errors = f", {load.failed} refused" * (load.failed > 0) + f", {load.broken} broken" * (load.broken > 0)
    return f"{load.rate:.0f}, {load.p50:.1f} ms, {load.p99:.1f} ms{errors}"


def _open_table(ports: dict[str, int], bodies: list[Path], seconds: int) -> list[str]:
    """Half and twice of what each of ours answers with eight connections just before: later the machine may be slower."""
    lines = [
        "| offered load | sent | p50, p99 | 200 | 503 with Retry-After | others | without answer | broken connections |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in ports:
        if name == A:
            continue
        for words, share in (("half", 0.5), ("twice", 2.0)):
            capacity = _wrk(ports[name], bodies, 8, seconds).rate
            load = _at_a_rate(ports[name], bodies, seconds, share * capacity)
            good = load.statuses.get("200", 0) - load.statuses.get("0", 0)
            lines.append(
                f"| {name}, {words} of {capacity:.0f}/s | {load.sent} | {load.p50:.1f} ms, {load.p99:.1f} ms | {good} "
                f"| {load.promised} | {load.answers - good - load.promised} "
                f"| {load.sent - load.answers} | {load.broken} |"
            )
    return lines


def _wrk(port: int, bodies: list[Path], connections: int, seconds: int, **environment: str) -> Load:
    environment = {**os.environ, "BODIES": "\n".join(map(str, bodies)), **environment}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=60s", "-s", str(HERE / "serving.lua")]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/predict"], env=environment, capture_output=True, text=True, check=True
    )
    load = Load(**json.loads(done.stderr.splitlines()[-1]))
    print(f"{port} {connections:3} {_cell(load)}", file=sys.stderr)
    return load


def _at_a_rate(port: int, bodies: list[Path], seconds: int, per_second: float) -> Load:
    connections = min(max(8, round(PAUSE * per_second)), MOST)  # so many that few of them wait for an answer
    pause = connections / per_second
    return _wrk(port, bodies, connections, seconds + QUIET, PAUSE=str(pause), SENDING_SECONDS=str(seconds))


def _bodies(folder: Path, kind: str) -> tuple[list[Path], list[int]]:
    """Write a form with a picture of each digit."""
    dataset = load_dataset("digits")
    paths, random = [], np.random.default_rng(0)
    for label in range(10):
        digit = dataset.x_validation[dataset.y_validation == label][0]
        picture = KINDS[kind](digit, random)
        with Image.open(io.BytesIO(picture)) as image:
            assert image.size in ((28, 28), (300, 260)), image.size
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        paths.append(folder / f"{kind}{label}")
        paths[-1].write_bytes(head + picture + b"\r\n--x--\r\n")
    return paths, list(range(10))


def _right(port: int, bodies: list[Path], labels: list[int]) -> int:
    """Count the right answers; any but 200 with Success ends the benchmark."""
    right = 0
    for path, label in zip(bodies, labels, strict=True):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", path.read_bytes(), {"Content-Type": "multipart/form-data; boundary=x"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer = json.load(response)
        assert answer["Success"] is True, answer
        right += answer["Predictions"][0]["Label"] == label
    return right


@contextlib.contextmanager
def _servers() -> Iterator[dict[str, int]]:
    ports, processes = {}, []
    try:
        for name, module in SERVERS.items():
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports[name] = free.getsockname()[1]
            command = [sys.executable, "-m", *module, str(ports[name])]
            processes.append(
                subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=HERE.parent, start_new_session=True
                )
            )
        for port, process in zip(ports.values(), processes, strict=True):
            _wait(port, process)
        yield ports
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.5)
    sys.exit(f"no server: {process.args!r}")


if __name__ == "__main__":
    main()
