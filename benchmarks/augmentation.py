"""What each augmentation buys: the same network trained with each, from several seeds, asked about changed pictures.

python -m benchmarks.augmentation [--seeds 3] [--epochs 6] [--images 2000] [--write]

Validation images only; the corruptions are used for measuring, in no training. Needs real MNIST (MNIST_DATA_DIR).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.results import arguments, publish, where
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.evaluation.robustness import Robustness, measure_robustness
from mnist_utils.evaluation.statistics import holm_correction
from mnist_utils.training import fit
from mnist_utils.training.config import Augment, make_config

KINDS = get_args(Augment)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="two at least: one has no spread")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=2000, help="of the 6,000 for validation, asked about changed")
    options = parser.parse_args()
    text = _measure(max(2, options.seeds), options.epochs, options.images)
    publish("python -m benchmarks.augmentation --write", text, keep=options.write)


def _measure(seeds: int, epochs: int, images: int) -> str:
    machine, dataset, digits = where(), load_dataset("mnist"), load_dataset("digits")
    asked = replace(dataset, x_validation=dataset.x_validation[:images], y_validation=dataset.y_validation[:images])
    found = {kind: [_train(kind, seed, epochs, asked, digits) for seed in range(seeds)] for kind in KINDS}
    means = {kind: np.array([one.mean for one in trials]) for kind, trials in found.items()}
    steps = {kind: means[kind] - means[before] for before, kind in pairwise(KINDS)}
    p_values = dict(
        zip(steps, holm_correction([float(ttest_1samp(step, 0).pvalue) for step in steps.values()]), strict=True)
    )
    lines = [
        f"{machine} `fast`, {epochs} epochs on MNIST ({len(dataset.x_train):,} images), asked about "
        f"{len(asked.x_validation):,} validation images and their corruptions; means over {seeds} seeds. A step is the "
        "mean difference to the kind before, over the seeds, with Student's 95 % interval; p is of the paired t test, "
        "corrected after Holm.",
        "",
        "| augment | clean | MNIST-C, mean | step, points | p | worst of the fifteen | inverted | `digits` |",
        "|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    for kind, trials in found.items():
        table = sum(one.table["accuracy"] for one in trials) / seeds
        worst = table[list(trials[0].table.index[trials[0].table["group"] == "MNIST-C"])]
        lines.append(
            f"| {kind} | {table['clean']:.2%} | {means[kind].mean():.1%} | {_step(steps.get(kind), p_values.get(kind))} "
            f"| {worst.idxmin().replace('_', ' ')} {worst.min():.1%} | {table['inverted']:.1%} | {table['digits']:.1%} |"
        )
    return "\n".join(lines)


def _train(kind: str, seed: int, epochs: int, dataset: Dataset, digits: Dataset) -> Robustness:
    config = make_config(model="fast", dataset="mnist", augment=kind, epochs=epochs, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        model = fit.train(config, dataset, Path(folder), progress=False).model
    x, y = dataset.x_validation, dataset.y_validation
    found = measure_robustness(lambda images: fit.predict_probabilities(model, images), x, y, others=(digits,), seed=seed)
    print(f"{kind}, seed {seed}: clean {found.table['accuracy'].iloc[0]:.2%}, MNIST-C {found.mean:.2%}", flush=True)
    return found


def _step(differences: np.ndarray | None, p_value: float | None) -> str:
    if differences is None or p_value is None:
        return "| "
    low, high = ttest_1samp(differences, 0).confidence_interval(0.95)
    noise = "" if p_value < 0.05 else " (not significant)"
    return f"{100 * differences.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f}){noise} | {p_value:.2g}"


if __name__ == "__main__":
    main()
