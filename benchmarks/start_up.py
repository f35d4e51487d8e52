"""Where the time of a short training goes: from the command to the first step, and from the last step to the whole run.

python -m benchmarks.start_up [--repeats 3] [--write]

Each repeat is a new process that does what `mnist train` does, with a clock about its parts. Needs real MNIST
(MNIST_DATA_DIR).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import arguments, publish, where

KERAS, OURS = "import keras", "from mnist_utils.training.backend import keras"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)  # what a process of this one's does
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(_inner()))
        return
    publish("python -m benchmarks.start_up --write", _measure(options.repeats), keep=options.write)


def _measure(repeats: int) -> str:
    machine = where()
    commands = {
        "`python -c pass`": [sys.executable, "-c", "pass"],
        "`mnist --help`": [Path(sys.executable).with_name("mnist"), "--help"],
        f"`{KERAS}`": [sys.executable, "-c", KERAS],
        f"`{OURS}`": [sys.executable, "-c", OURS],
    }
    whole, parts = defaultdict(list), defaultdict(list)
    for _ in range(repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            whole[name].append(time.perf_counter() - start)
        command = [sys.executable, "-m", "benchmarks.start_up", "--inner"]
        start = time.perf_counter()
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = time.perf_counter() - start
        for part, spent in found.items():
            parts[part].append(spent)
        parts["Python's start and end, and what is left"].append(seconds - sum(found.values()))
        parts["all"].append(seconds)
    lines = [f"{machine} New processes, {repeats} each, by turns; medians.", "", "| process | seconds |", "|---|---:|"]
    lines += [f"| {name} | {np.median(seconds):.2f} |" for name, seconds in whole.items()]
    lines += ["", "| of a whole `mnist train` | seconds |", "|---|---:|"]
    lines += [f"| {name} | {np.median(seconds):.2f} |" for name, seconds in parts.items()]
    return "\n".join(lines)


def _inner() -> dict[str, float]:
    spent: dict[str, float] = {}
    clock = time.perf_counter

    def timed(owner: Any, name: str, part: str) -> None:
        function = getattr(owner, name)

        def wrapper(*args: Any, **given: Any) -> Any:
            start = clock()
            try:
                return function(*args, **given)
            finally:
                spent[part] = spent.get(part, 0) + clock() - start

        setattr(owner, name, wrapper)

    start = clock()
    import mnist_utils.cli.main  # noqa: F401

    spent["the command line"] = clock() - start
    start = clock()
    from mnist_utils.evaluation import metrics
    from mnist_utils.runs import record
    from mnist_utils.runs.run import Run
    from mnist_utils.training import fit
    from mnist_utils.training.config import make_config

    spent["importing Keras and TensorFlow"] = clock() - start
    start = clock()
    config, dataset = fit.load_training_data(make_config(dataset="mnist"))
    spent["the data set: read, checked, split"] = clock() - start

    steps: list[float] = []
    show_steps = fit._show_steps

    def noted(show: Any, *args: Any) -> Any:
        steps.append(clock())  # fit begins

        def show_and_note(*args: Any, **given: Any) -> None:
            steps.append(clock())
            show(*args, **given)

        return show_steps(show_and_note, *args)

    fit._show_steps = noted
    timed(fit, "compile_model", "building network and optimiser")
    timed(fit, "_validation", "validation; TensorFlow compiles")
    keras_model = fit.keras.Model
    timed(keras_model, "export", "LiteRT export")
    timed(keras_model, "save", "Keras file")
    timed(fit, "predict_probabilities", "predicting (of which some in the validation)")
    timed(metrics, "compute_metrics", "metrics")
    timed(Run, "figure", "drawing figures")
    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        record.record_run(config, dataset, "run", Path(folder), progress=False)
        recorded = clock() - start
    spent["predicting"] = (
        spent.pop("predicting (of which some in the validation)") - spent["validation; TensorFlow compiles"]
    )
    spent["the first ten steps; TensorFlow compiles"] = steps[1] - steps[0]
    spent["the other steps"] = steps[-1] - steps[1]
    known = sum(spent.values()) - sum(list(spent.values())[:3])
    spent["other parts of the run's record"] = recorded - known
    return spent


if __name__ == "__main__":
    main()
