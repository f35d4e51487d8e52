"""How accurate a network becomes: trained from several seeds, each tested once, with an interval; and all of them together.

python -m benchmarks.accuracy fast [--seeds 10] [--write]

The seeds are a sweep in build/accuracy/ (--results), so a benchmark that was stopped goes on where it was, and one that is
called again with more seeds trains only those. Nothing is chosen by the test images: the recipes were chosen on the
validation images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.results import arguments, publish, where
from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation.metrics import compute_metrics
from mnist_utils.experiments import grid, runner, store
from mnist_utils.runs.folder import run_lock
from mnist_utils.runs.run import Run
from mnist_utils.training import build


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("model")
    parser.add_argument("--seeds", type=int, default=10, help="two at least: one has no spread")
    parser.add_argument("--results", type=Path, default=Path("build/accuracy"), help="folder of these runs")
    options = parser.parse_args()
    publish(
        f"python -m benchmarks.accuracy {options.model} --write",
        _measure(options.model, max(2, options.seeds), options.results),
        keep=options.write,
    )


def _measure(model: str, seeds: int, results: Path) -> str:
    machine = where()
    trials, _ = grid.make_trials({"model": model, "dataset": "mnist", "seed": f"0:{seeds}"})
    config, dataset = trials[0].config, load_dataset("mnist")
    folder = store.new_sweep_folder(model, results)
    with run_lock(folder, model), runner.local_cluster(1) as client:
        store.write_definition(folder, {"model": model, "seed": f"0:{seeds}"}, None, trials)
        runner.run_trials(client, trials, folder)
    found = store.read_trials(folder, trials)
    made = [found[trial.key] for trial in trials]
    _check(made)
    parameters = build.build_model(model).count_params()
    lines = [
        f"{machine} MNIST: {len(dataset.x_train):,} images trained on, {len(dataset.x_validation):,} for validation, "
        f"{len(dataset.x_test):,} for the test, which each run opens once.",
        "",
        f"`{model}`: {parameters:,} parameters, epochs {config.epochs}, batch_size {config.batch_size}.",
        "",
        "| seed | validation | test | wrong | seconds of training |",
        "|---:|---:|---:|---:|---:|",
    ]
    scores = np.array([(run.trained().validation.accuracy, run.trained().test.accuracy) for run in made])
    for seed, (run, (validation, test)) in enumerate(zip(made, scores, strict=True)):
        wrong = round((1 - test) * len(dataset.x_test))
        lines.append(f"| {seed} | {validation:.2%} | {test:.2%} | {wrong} | {run.trained().seconds['training']:.0f} |")
    seconds = np.median([run.trained().seconds["training"] for run in made])
    lines += [
        f"| mean, 95 % of such means | {_interval(scores[:, 0])} | {_interval(scores[:, 1])} | | {seconds:.0f} (median) |",
        "",
        "The interval is Student's, over seeds: it speaks of other trainings, not of other test images.",
    ]
    for first in range(0, seeds - 4, 5):
        together = np.mean([run.predictions()[0] for run in made[first : first + 5]], axis=0)
        found = compute_metrics(together, dataset.y_test)
        low, high = found.accuracy_interval
        lines.append(
            f"Seeds {first} to {first + 4} together, mean of their probabilities: {found.accuracy:.2%} "
            f"({low:.2%} to {high:.2%}, Wilson's, over test images)."
        )
    return "\n".join(lines)


def _check(made: list[Run]) -> None:
    for run in made:
        if run.incomplete:
            raise SystemExit(f"{run.path} failed: {run.incomplete}")
        if run.facts["cpu"] != made[0].facts["cpu"]:
            raise SystemExit(f"{run.path} was trained on another processor than {made[0].path}; delete one of them")


def _interval(values: np.ndarray) -> str:
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    return f"{values.mean():.3%} ± {(high - low) / 2:.3%}"


if __name__ == "__main__":
    main()
