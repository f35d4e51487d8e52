"""What a sweep costs beside the training that it is for, and what a second worker brings.

python -m benchmarks.sweep_scale [--trials 4] [--repeats 5] [--tiny 1000] [--write]

Three measurements: trials in the same time with one and two workers, each of one thread; a trial's seconds beside those
of training and recording the same model in a process that is warm; and many trials that do nothing, for the scheduler's
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
from mnist_utils.runs.record import record_run
from mnist_utils.training.config import make_config
from mnist_utils.training.fit import load_training_data
from tests.fake_runs import fake_run, write_run

# Enough that training is most of a trial, as it is in a sweep that anybody waits for.
GIVEN = {"dataset": "mnist", "model": "fast", "precision": "float32"}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=4, help="in a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--tiny", type=int, default=1000)
    options = parser.parse_args()
    report = _measure(options.trials, options.repeats, options.tiny)
    publish("python -m benchmarks.sweep_scale --write", report, keep=options.write)


def _measure(trials: int, repeats: int, tiny: int) -> str:
    machine = where()
    memory = _tiny(tiny)  # first: the rest makes this process grow
    rounds = _throughput(trials, repeats)
    ratios = [one[0] / two[0] for one, two in rounds]
    lines = [
        f"{machine} `fast`, one epoch of MNIST a trial. {trials} trials with one worker, then {trials} with two, {repeats} "
        "times in turns, as the machine's speed changes; each worker has one thread and had trials before.",
        "",
        "| workers | seconds of each turn | trials an hour | seconds of training a trial | processor's seconds a trial |",
        "|---:|---|---:|---:|---:|",
    ]
    for workers, turns in enumerate(zip(*rounds, strict=True), start=1):
        seconds, training, processor = zip(*turns, strict=True)
        each = ", ".join(f"{one:.0f}" for one in seconds)
        hour = 3600 * trials / np.median(seconds)
        lines.append(f"| {workers} | {each} | {hour:.0f} | {np.median(training):.1f} | {np.median(processor):.1f} |")
    lines += [
        "",
        f"Two workers do **{np.median(ratios):.2f} times** as many trials in the same time as one (median of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}). The last three columns are medians; the last is of all "
        "that the machine did meanwhile: where it grows with the workers, the same work took the cores longer.",
    ]
    bare, trial = _overhead()
    lines += [
        "",
        f"One trial in a worker that has had one before, both cores: {np.median(trial):.1f} s (median of {len(trial)}: "
        f"{', '.join(f'{seconds:.1f}' for seconds in trial)}). The same training and recording in a process that did "
        f"one before: {np.median(bare):.1f} s ({', '.join(f'{seconds:.1f}' for seconds in bare)}). Overhead: "
        f"**{np.median(trial) - np.median(bare):.1f} s a trial**.",
    ]
    seconds, begin, end = memory
    lines += [
        "",
        f"{tiny:,} trials that do nothing, one worker: {1000 * seconds / tiny:.0f} ms a trial, writing its folder included; "
        f"the client's memory {begin:.0f} MB after the first hundred, {end:.0f} MB after the last.",
    ]
    return "\n".join(lines)


def _throughput(trials: int, repeats: int) -> list[list[tuple[float, float, float]]]:
    """Time sweeps with one and with two workers in turns, each as `_sweep` does."""
    with (
        tempfile.TemporaryDirectory() as folder,
        runner.local_cluster(1, threads=1) as one,
        runner.local_cluster(2, threads=1) as two,
    ):
        for client in one, two:
            warm, _ = grid.make_trials(GIVEN | {"train_limit": 200, "seed": "0:4"})
            runner.run_trials(client, warm, Path(tempfile.mkdtemp(dir=folder)), progress=False)
        return [[_sweep(client, trials, tempfile.mkdtemp(dir=folder)) for client in (one, two)] for _ in range(repeats)]


def _sweep(client: Client, trials: int, folder: str) -> tuple[float, float, float]:
    """Time a sweep: its seconds, those of training alone in a trial, and the processor's for a trial."""
    measured, _ = grid.make_trials(GIVEN | {"seed": f"0:{trials}"})
    start, busy = time.perf_counter(), _busy()
    runner.run_trials(client, measured, Path(folder), progress=False)
    seconds, busy = time.perf_counter() - start, _busy() - busy
    found = store.trained_runs(store.read_trials(Path(folder), measured))
    assert len(found) == trials
    print(f"{trials} trials, {len(client.ncores())} workers: {seconds:.1f} s", flush=True)
    return seconds, float(np.mean([run.trained().seconds["training"] for run in found])), busy / trials


def _busy() -> float:
    """Tell for how many seconds the machine's cores have computed since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _overhead(repeats: int = 5) -> tuple[list[float], list[float]]:
    """Time the same training in this process and as a trial, in turns; the first of each warms up."""
    bare, trial = [], []
    with tempfile.TemporaryDirectory() as folder, runner.local_cluster(1) as client:
        for seed in range(repeats + 1):
            start = time.perf_counter()
            config, dataset = load_training_data(make_config(**GIVEN, seed=seed))
            record_run(config, dataset, f"bare-{seed}", Path(folder), progress=False)
            bare.append(time.perf_counter() - start)
            one, _ = grid.make_trials(GIVEN | {"seed": seed})
            start = time.perf_counter()
            runner.run_trials(client, one, Path(folder), progress=False)
            trial.append(time.perf_counter() - start)
            print(f"bare {bare[-1]:.1f} s, trial {trial[-1]:.1f} s", flush=True)
    return bare[1:], trial[1:]


def nothing(*_: Any, **__: Any) -> bytes:
    """Stand in for `runner.train_trial`: an archive as large as a run's, and no training."""
    with tempfile.TemporaryDirectory() as folder:
        place = write_run(fake_run("trial", 0.5), Path(folder))
        (place / "model.keras").write_bytes(bytes(1_700_000))
        return store.pack_run(place)


def _tiny(n: int) -> tuple[float, float, float]:
    """Send many trials through the scheduler; return the seconds, and the client's memory (MB) early and in the end."""
    trials, _ = grid.make_trials({"dataset": "digits", "seed": f"0:{n}"})
    memory = []
    with (
        tempfile.TemporaryDirectory() as folder,
        runner.local_cluster(1) as client,
        patch.object(runner, "train_trial", nothing),
    ):
        start = time.perf_counter()
        for some in trials[:100], trials:
            runner.run_trials(client, some, Path(folder), progress=False)
            memory.append(psutil.Process().memory_info().rss / 1e6)
            print(f"{len(some)} trials: {memory[-1]:.0f} MB", flush=True)
        seconds = time.perf_counter() - start
    return seconds, memory[0], memory[-1]


if __name__ == "__main__":
    main()
