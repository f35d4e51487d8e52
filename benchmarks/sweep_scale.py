"""What a sweep costs beside the training that it is for, and what a second worker brings.

python -m benchmarks.sweep_scale [--points 4] [--repeats 5] [--tiny 1000] [--write]

Three measurements: points in the same time with one and two workers, each of one thread; a point's seconds beside those
of training and recording the same network in a process that is warm; and many points that do nothing, for the scheduler's
own share and the client's memory. Takes about ten minutes on two cores. Needs real MNIST (MNIST_DATA_DIR).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
from distributed import Client

from benchmarks.results import arguments, publish, where
from mnist_utils.experiments import grid, runner, store
from mnist_utils.experiments.runner import Outcome
from mnist_utils.runs.record import record_run
from mnist_utils.training.fit import prepare_training

# Enough that training is most of a point, as it is in a sweep that anybody waits for.
GIVEN = {"dataset": "mnist", "model": "fast", "precision": "float32"}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--points", type=int, default=4, help="in a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--tiny", type=int, default=1000)
    options = parser.parse_args()
    report = _measure(options.points, options.repeats, options.tiny)
    publish("python -m benchmarks.sweep_scale --write", report, keep=options.write)


def _measure(points: int, repeats: int, tiny: int) -> str:
    machine = where()
    memory = _tiny(tiny)  # first: the rest makes this process grow
    rounds = _throughput(points, repeats)
    ratios = [one[0] / two[0] for one, two in rounds]
    lines = [
        f"{machine} `fast`, one epoch of MNIST a point. {points} points with one worker, then {points} with two, {repeats} "
        "times in turns, as the machine's speed changes; each worker has one thread and had points before.",
        "",
        "| workers | seconds of each turn | points an hour | seconds of training a point | processor's seconds a point |",
        "|---:|---|---:|---:|---:|",
    ]
    for workers, turns in enumerate(zip(*rounds, strict=True), start=1):
        seconds, training, processor = zip(*turns, strict=True)
        each = ", ".join(f"{one:.0f}" for one in seconds)
        hour = 3600 * points / np.median(seconds)
        lines.append(f"| {workers} | {each} | {hour:.0f} | {np.median(training):.1f} | {np.median(processor):.1f} |")
    lines += [
        "",
        f"Two workers do **{np.median(ratios):.2f} times** as many points in the same time as one (median of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}). The last three columns are medians; the last is of all "
        "that the machine did meanwhile: where it grows with the workers, the same work took the cores longer.",
    ]
    bare, point = _overhead()
    lines += [
        "",
        f"One point in a worker that has had one before, both cores: {np.median(point):.1f} s (median of {len(point)}: "
        f"{', '.join(f'{seconds:.1f}' for seconds in point)}). The same training and recording in a process that did "
        f"one before: {np.median(bare):.1f} s ({', '.join(f'{seconds:.1f}' for seconds in bare)}). Overhead: "
        f"**{np.median(point) - np.median(bare):.1f} s a point**, of which the notebook draws, tabulates and compiles anew.",
    ]
    seconds, begin, end = memory
    lines += [
        "",
        f"{tiny:,} points that do nothing, one worker: {1000 * seconds / tiny:.0f} ms a point, writing its folder included; "
        f"the client's memory {begin:.0f} MB after the first hundred, {end:.0f} MB after the last.",
    ]
    return "\n".join(lines)


def _throughput(points: int, repeats: int) -> list[list[tuple[float, float, float]]]:
    """Time sweeps with one and with two workers in turns, each as `_sweep` does."""
    with (
        tempfile.TemporaryDirectory() as folder,
        runner.local_cluster(1, threads=1) as one,
        runner.local_cluster(2, threads=1) as two,
    ):
        for client in one, two:
            warm, _ = grid.make_trials(GIVEN | {"train_limit": 200, "seed": "0:4"})
            runner.run_trials(client, warm, Path(tempfile.mkdtemp(dir=folder)), progress=False)
        return [[_sweep(client, points, tempfile.mkdtemp(dir=folder)) for client in (one, two)] for _ in range(repeats)]


def _sweep(client: Client, points: int, folder: str) -> tuple[float, float, float]:
    """Time a sweep: its seconds, those of training alone in a point, and the processor's for a point."""
    measured, _ = grid.make_trials(GIVEN | {"seed": f"0:{points}"})
    start, busy = time.perf_counter(), _busy()
    runner.run_trials(client, measured, Path(folder), progress=False)
    seconds, busy = time.perf_counter() - start, _busy() - busy
    found = store.trained_runs(store.read_trials(Path(folder), measured))
    assert len(found) == points
    print(f"{points} points, {len(client.ncores())} workers: {seconds:.1f} s", flush=True)
    return seconds, float(np.mean([run.metrics["seconds"]["training"] for run in found])), busy / points


def _busy() -> float:
    """Tell for how many seconds the machine's cores have computed since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _overhead(repeats: int = 5) -> tuple[list[float], list[float]]:
    """Time the same training in this process and as a point, in turns; the first of each warms up."""
    bare, point = [], []
    with tempfile.TemporaryDirectory() as folder, runner.local_cluster(1) as client:
        for seed in range(repeats + 1):
            start = time.perf_counter()
            config, dataset = prepare_training(**GIVEN | {"seed": seed})
            record_run(config, dataset, f"bare-{seed}", Path(folder), progress=False)
            bare.append(time.perf_counter() - start)
            one, _ = grid.make_trials(GIVEN | {"seed": seed})
            start = time.perf_counter()
            runner.run_trials(client, one, Path(folder), progress=False)
            point.append(time.perf_counter() - start)
            print(f"bare {bare[-1]:.1f} s, point {point[-1]:.1f} s", flush=True)
    return bare[1:], point[1:]


def nothing(*_: Any) -> Outcome:
    """Stand in for `experiments.runner.compute_trial`: an archive as large as a run's, and no training."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "metrics.json").write_text('{"validation": {"accuracy": 0.5}, "test": {}, "seconds": {"training": 0}}')
        Path(folder, "config.json").write_text('{"config": {}, "dataset": {"name": "digits", "sha256": ""}}')
        Path(folder, "model.keras").write_bytes(bytes(1_700_000))
        return Outcome(store.pack(Path(folder)), "")


def _tiny(n: int) -> tuple[float, float, float]:
    """Send many points through the scheduler; return the seconds, and the client's memory (MB) early and in the end."""
    points, _ = grid.make_trials({"dataset": "digits", "seed": f"0:{n}"})
    memory = []
    with (
        tempfile.TemporaryDirectory() as folder,
        runner.local_cluster(1) as client,
        patch.object(runner, "compute_trial", nothing),
    ):
        start = time.perf_counter()
        for i, (point, outcome, _) in enumerate(runner.compute_trials(client, points), start=1):
            store.store_trial(Path(folder), point.key, outcome.packed, outcome.error)
            if i in (100, n):
                memory.append(psutil.Process().memory_info().rss / 1e6)
                print(f"{i} points: {memory[-1]:.0f} MB", flush=True)
        seconds = time.perf_counter() - start
    return seconds, memory[0], memory[-1]


if __name__ == "__main__":
    main()
