"""What broken pictures do to the reader and to the server: whether they crash, hang, fail or leak.

python -m benchmarks.bad_input [--n 100000] [--seed 0]

Worker processes draw pictures of every format and mode, mutated (`tests/fuzz.py`), preprocess each, and send it to a real
`mnist serve`, which must say the same; 20,000 take about 4 minutes. What goes wrong ends the run: with the smallest picture
that does it, or with the traceback of what crashes or hangs. Only on Linux: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import hypothesis
import numpy as np

from tests.fuzz import STATUS, outcome_of, pictures

HANGS = 60  # seconds for a picture, after which it counts as hanging
CHUNK = 1000  # pictures to a seed


@dataclass
class Seen:
    """What a worker process saw of some pictures."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reader: list[float] = field(default_factory=list)  # seconds a picture
    server: list[float] = field(default_factory=list)
    memory: float = 0.0  # of the process at its end, MB
    peak: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=100_000, help="pictures, in steps of a thousand [default: 100000]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seeds = [options.seed * 1_000_003 + number for number in range(-(-options.n // CHUNK))]
    memory = []
    spawn = get_context("spawn")  # begins with a small memory of its own
    with run_server() as (port, pid), ProcessPoolExecutor(os.cpu_count(), spawn, faulthandler.enable) as pool:
        seen = []
        for one in pool.map(read_pictures, seeds, repeat(CHUNK), repeat(port)):
            seen.append(one)
            memory.append(megabytes("VmRSS", pid))
    print(f"seed {options.seed}; {os.cpu_count()} processes\n\n{table(seen, memory)}")


def read_pictures(seed: int, n: int, port: int | None = None) -> Seen:
    """Preprocess drawn pictures, and send each to a server, which must answer with the status of the outcome."""
    seen = Seen()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS) if port else None

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=n, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(content=pictures())
    def check(content: bytes) -> None:
        faulthandler.dump_traceback_later(HANGS, exit=True)
        begun = time.perf_counter()
        outcome = outcome_of(content)
        read = time.perf_counter()
        if connection:
            assert _send(connection, content) == STATUS[outcome]
            seen.server.append(time.perf_counter() - read)
        faulthandler.cancel_dump_traceback_later()
        seen.reader.append(read - begun)
        seen.outcomes[outcome] += 1

    check()
    seen.memory, seen.peak = megabytes("VmRSS"), megabytes("VmHWM")
    return seen


def _send(connection: http.client.HTTPConnection, content: bytes) -> int:
    boundary = "0123456789abcdef0123456789abcdef"  # no mutation makes it
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'.encode()
    body += content + f"\r\n--{boundary}--\r\n".encode()
    connection.request("POST", "/predict", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    response = connection.getresponse()
    assert json.loads(response.read())["Success"] is (response.status == 200)
    return response.status


@contextlib.contextmanager
def run_server() -> Iterator[tuple[int, int]]:
    """Run `mnist serve` for a while: its port, its process. All that it writes to stderr must be lines of its log."""
    results = Path(__file__).parent.parent / "results"
    command = [sys.executable, "-m", "mnist_utils.cli.main", "serve", "--port", "0", "--results", str(results)]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout
        line = process.stdout.readline()
        try:
            yield int(line.split()[1].rpartition(":")[2]), process.pid
        finally:
            process.terminate()
            assert process.wait() == 0, f"the server ended with {process.returncode}"
        log.seek(0)
        strange = [line for line in log if not line.startswith('{"method"')]
        assert not strange, f"{len(strange)} lines on the server's stderr are no log: {strange[:5]}"


def megabytes(field_: str, pid: int | str = "self") -> float:
    """Return the resident memory of a process: VmRSS is now, VmHWM the most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field_))


def table(seen: list[Seen], memory: list[float]) -> str:
    """Return the report in Markdown; `memory` is the server's, after each of `seen`."""
    lines = ["| | reader | server |", "|---|---|---|"]
    times = [np.concatenate([getattr(one, door) for one in seen] or [[0]]) for door in ("reader", "server")]
    for name, share in ("median", 0.5), ("99th percentile", 0.99), ("most", 1):
        cells = [f"{1000 * np.quantile(seconds, share):.1f}" if len(seconds) else "" for seconds in times]
        lines.append(f"| milliseconds a picture, {name} | {' | '.join(cells)} |")
    for share in 0.1, 0.25, 0.5, 0.75, 1.0:
        at = max(0, round(share * len(seen)) - 1)
        cells = [f"{mb:.0f}" for mb in (seen[at].memory, memory[min(at, len(memory) - 1)])]
        lines.append(f"| resident memory after {share:.0%} of them, MB | {' | '.join(cells)} |")
    lines += [f"| most at any time, MB | {max(one.peak for one in seen):.0f} | |"]
    outcomes = sum((one.outcomes for one in seen), Counter())
    lines += ["", f"| outcome of {outcomes.total():,} pictures | status | |", "|---|---|---:|"]
    lines += [f"| {name} | {status} | {outcomes[name]:,} |" for name, status in STATUS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
