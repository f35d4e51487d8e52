"""What broken pictures do to the reader and to the server: whether they crash, hang, fail or leak.

python -m benchmarks.bad_input [--n 100000] [--seed 0]

Pictures of every format and mode (`tests/bad_pictures.py`), mutated, go through the reader in worker processes, then
one by one through a real `mnist serve`. Only on Linux: memory is read from /proc. Ends with status 1 if anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import functools
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mnist_utils.preprocessing.decode import ErrorKind, ImageError
from mnist_utils.preprocessing.reader import PreprocessedImage, preprocess
from tests.bad_pictures import mutated, seeds

STATUS: dict[str, int] = {"read": 200, "cannot be decoded": 400, "too large": 413, "not a picture": 415, "no digit": 422}
HANGS = 60.0  # seconds for a picture, after which it counts as hanging
CHUNK = 250  # pictures that a worker process does before it reports
Whole = list[tuple[str, bytes]]
_given: Whole = []  # to a worker process


@dataclass(frozen=True)
class Seen:
    """What became of one picture: the reader's outcome ("read" or the error's kind), the server's status."""

    number: int
    name: str
    outcome: str
    seconds: float
    megabytes: float  # by which the process's peak of resident memory rose


@dataclass
class Record:
    """What was seen of all pictures at one door."""

    seen: list[Seen] = field(default_factory=list)
    memory: list[tuple[int, float]] = field(default_factory=list)  # after so many pictures, MB
    peak: float = 0.0  # MB
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n", type=int, default=100_000, help="pictures [default: 100000]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    whole = list(seeds(np.random.default_rng(options.seed)).items())
    reader = through_reader(whole, options.n, options.seed)
    server = through_server(whole, options.n, options.seed)
    faults = reader.faults + server.faults + disagreements(reader, server)
    print(table(reader, server, options.seed))
    print(*(f"\nFAULT {fault}" for fault in faults))
    return 1 if faults else 0


# --- the pictures ---


def picture(whole: Whole, seed: int, number: int) -> tuple[str, bytes]:
    """Return the picture of that number and the name of what it was made from; it depends on nothing else."""
    random = np.random.default_rng([seed, number])
    name, content = whole[int(random.integers(len(whole)))]
    other = whole[int(random.integers(len(whole)))][1]
    return name, content if random.random() < 0.03 else mutated(content, other, random)


# --- the reader ---


def through_reader(whole: Whole, n: int, seed: int, workers: int | None = None) -> Record:
    """Read the pictures in worker processes (all cores). A crash or a hang ends the run with its traceback on stderr."""
    record, begun = Record(), time.perf_counter()
    latest: dict[int, float] = {}
    spawn = get_context("spawn")  # begins with a small memory of its own
    with ProcessPoolExecutor(workers or os.cpu_count(), spawn, _begin, (whole,)) as pool:
        for seen, faults, pid, resident, peak in pool.map(_read_chunk, [(seed, at, n) for at in range(0, n, CHUNK)]):
            record.seen += seen
            record.faults += faults
            record.peak = max(record.peak, peak)
            latest[pid] = resident
            record.memory.append((len(record.seen), max(latest.values())))
    record.seconds = time.perf_counter() - begun
    return record


def _begin(whole: Whole) -> None:
    faulthandler.enable()
    _given.extend(whole)


def _read_chunk(task: tuple[int, int, int]) -> tuple[list[Seen], list[str], int, float, float]:
    seed, start, n = task
    seen, faults = [], []
    warnings.simplefilter("error")
    for number in range(start, min(start + CHUNK, n)):
        name, content = picture(_given, seed, number)
        peak = megabytes("VmHWM")
        faulthandler.dump_traceback_later(HANGS, exit=True)
        begun = time.perf_counter()
        outcome, fault = outcome_of(content)
        seconds = time.perf_counter() - begun
        faulthandler.cancel_dump_traceback_later()
        seen.append(Seen(number, name, outcome, seconds, megabytes("VmHWM") - peak))
        if fault:
            faults.append(f"the reader, picture {number} ({name}):\n{fault}")
    return seen, faults, os.getpid(), megabytes("VmRSS"), megabytes("VmHWM")


def outcome_of(content: bytes) -> tuple[str, str]:
    """Read a picture; "read", the kind of its `ImageError`, or "fault" with what is wrong."""
    try:
        reading: PreprocessedImage = preprocess(content)
    except ImageError as error:
        kind: ErrorKind = error.kind
        return kind, "" if str(error).startswith(kind) else f"an ImageError of no kind: {error}"
    except BaseException:  # what is recorded here is what the run is for
        return "fault", traceback.format_exc(limit=-3)
    image = reading.image
    good = image.shape == (28, 28) and image.dtype == np.uint8 and image.max() > 0
    return ("read", "") if good else ("fault", f"read as {image.dtype} {image.shape}, at most {image.max()}")


def megabytes(field_: str, pid: int | str = "self") -> float:
    """Return the resident memory of a process: VmRSS is now, VmHWM the most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field_))


# --- the server ---


def through_server(whole: Whole, n: int, seed: int) -> Record:
    """Send the pictures to a new `mnist serve`, one a request, over as many lasting connections as there are cores."""
    record = Record()
    connections = os.cpu_count() or 1
    with _server(record) as (port, pid):
        begun = time.perf_counter()

        def client(share: int) -> None:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)) as connection:
                for number in range(share, n, connections):
                    name, content = picture(whole, seed, number)
                    record.seen.append(_sent(connection, pid, number, name, content))
                    if len(record.seen) % CHUNK == 0:
                        record.memory.append((len(record.seen), megabytes("VmRSS", pid)))

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(client, range(connections)))
        record.seconds = time.perf_counter() - begun
        record.memory.append((len(record.seen), megabytes("VmRSS", pid)))
        record.peak = megabytes("VmHWM", pid)
    known = {str(status) for status in STATUS.values()}
    record.faults += [
        f"the server, picture {seen.number} ({seen.name}): {seen.outcome}"
        for seen in record.seen
        if seen.outcome not in known
    ]
    return record


@contextlib.contextmanager
def _server(record: Record) -> Iterator[tuple[int, int]]:
    """Run `mnist serve` for a while: its port, its process. What is on its stderr and is no line of its log is a fault."""
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
            if process.poll() is not None:
                record.faults.append(f"the server ended by itself with status {process.returncode}")
            process.terminate()
            process.wait(timeout=30)
        log.seek(0)
        strange = [line for line in log if not _is_log(line)]
        if strange:
            record.faults.append(f"{len(strange)} lines on the server's stderr are no log: {strange[:5]}")


def _is_log(line: str) -> bool:
    try:
        return "status" in json.loads(line)
    except ValueError:
        return False


def _sent(connection: http.client.HTTPConnection, pid: int, number: int, name: str, content: bytes) -> Seen:
    boundary = "0123456789abcdef0123456789abcdef"  # no mutation makes it
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'.encode()
    body += content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    peak = megabytes("VmHWM", pid)
    begun = time.perf_counter()
    try:
        connection.request("POST", "/predict", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        outcome = str(response.status)
        if answer["Success"] != (response.status == 200):
            outcome += f" with {answer}"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        connection.close()
        outcome = repr(error)
    return Seen(number, name, outcome, time.perf_counter() - begun, megabytes("VmHWM", pid) - peak)


# --- the report ---


def disagreements(reader: Record, server: Record) -> list[str]:
    """Return the pictures that the server answered otherwise than the reader says."""
    expected = {seen.number: str(STATUS.get(seen.outcome)) for seen in reader.seen}
    return [
        f"picture {seen.number} ({seen.name}): the reader says {expected[seen.number]}, the server {seen.outcome}"
        for seen in server.seen
        if expected[seen.number] != seen.outcome
    ]


def table(reader: Record, server: Record, seed: int) -> str:
    """Return the report in Markdown."""
    rows: list[tuple[str, Callable[[Record], str]]] = [
        ("pictures", lambda record: f"{len(record.seen):,}"),
        ("minutes", lambda record: f"{record.seconds / 60:.1f}"),
        ("crashes, hangs, other errors than the promised, answers of 500", lambda record: f"{len(record.faults)}"),
        ("milliseconds a picture: median", lambda record: f"{1000 * _quantile(record, 0.5):.1f}"),
        ("99th percentile", lambda record: f"{1000 * _quantile(record, 0.99):.1f}"),
        ("most", lambda record: f"{1000 * _quantile(record, 1):,.0f}"),
        *(
            (f"resident memory after {share:.0%} of them, MB", functools.partial(_memory, share=share))
            for share in (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
        ),
        ("most at any time, MB", lambda record: f"{record.peak:.0f}"),
        (
            "most by which one picture raised the peak, MB",
            lambda record: f"{max(seen.megabytes for seen in record.seen):.0f}",
        ),
    ]
    lines = [f"seed {seed}; the reader in {os.cpu_count()} processes, of which the larger is shown", ""]
    lines += ["| | reader | server |", "|---|---|---|"]
    lines += [f"| {name} | {cell(reader)} | {cell(server)} |" for name, cell in rows]
    lines += ["", "| outcome | status | reader | server |", "|---|---|---|---|"]
    outcomes, statuses = (Counter(seen.outcome for seen in record.seen) for record in (reader, server))
    lines += [f"| {name} | {code} | {outcomes[name]:,} | {statuses[str(code)]:,} |" for name, code in STATUS.items()]
    by_form: dict[str, Counter[str]] = defaultdict(Counter)
    for seen in reader.seen:
        by_form[seen.name.partition(" ")[0]][seen.outcome] += 1
    lines += ["", f"| made from | {' | '.join(STATUS)} |", "|---|" + "---|" * len(STATUS)]
    lines += [
        f"| {form} | {' | '.join(f'{counts[name]:,}' for name in STATUS)} |" for form, counts in sorted(by_form.items())
    ]
    slow = sorted(reader.seen, key=lambda seen: -seen.seconds)[:5]
    large = sorted(reader.seen, key=lambda seen: -seen.megabytes)[:5]
    lines += ["", "slowest: " + ", ".join(f"{seen.number} ({seen.name}) {seen.seconds:.2f} s" for seen in slow)]
    lines += ["largest: " + ", ".join(f"{seen.number} ({seen.name}) {seen.megabytes:.0f} MB" for seen in large)]
    return "\n".join(lines)


def _quantile(record: Record, share: float) -> float:
    return float(np.quantile([seen.seconds for seen in record.seen], share))


def _memory(record: Record, share: float) -> str:
    until = share * len(record.seen)
    return f"{next((mb for count, mb in record.memory if count >= until), record.memory[-1][1]):.0f}"


if __name__ == "__main__":
    sys.exit(main())
