"""What each augmentation buys: the same network trained with each, from several seeds, evaluated on changed images.

python -m benchmarks.augmentation [--seeds 5] [--epochs 3] [--images 1000] [--write]

To choose by: the ten graded corruptions, in five severities each. Only reported: MNIST-C, on which nothing is to be chosen.
Validation images only; no training uses these functions. Needs real MNIST (MNIST_DATA_DIR).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.results import arguments, publish, where
from mnist_utils.data.augmentation import AUGMENTATIONS
from mnist_utils.data.datasets import Dataset, load_dataset
from mnist_utils.evaluation.robustness import Robustness, measure_robustness, measure_severities
from mnist_utils.evaluation.statistics import format_p_value, holm_correction
from mnist_utils.training import fit
from mnist_utils.training.config import make_config

KINDS = tuple(sorted(AUGMENTATIONS, key="pictures".__eq__))  # the others each add to the one before


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="two at least: one has no spread")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000, help="of the 6,000 for validation, to change")
    options = parser.parse_args()
    text = _measure(max(2, options.seeds), options.epochs, options.images)
    publish("python -m benchmarks.augmentation --write", text, keep=options.write)


@dataclass(frozen=True)
class _Trial:
    graded: float  # mean accuracy over the graded corruptions and severities
    mnist_c: Robustness


def _measure(seeds: int, epochs: int, images: int) -> str:
    machine, dataset, digits = where(), load_dataset("mnist"), load_dataset("digits")
    some = replace(dataset, x_validation=dataset.x_validation[:images], y_validation=dataset.y_validation[:images])
    found = {kind: [_train(kind, seed, epochs, some, digits) for seed in range(seeds)] for kind in KINDS}
    graded = {kind: np.array([one.graded for one in trials]) for kind, trials in found.items()}
    steps = {kind: graded[kind] - graded[before] for before, kind in pairwise(KINDS)}
    p_values = dict(
        zip(steps, holm_correction([float(ttest_1samp(step, 0).pvalue) for step in steps.values()]), strict=True)
    )
    level = 1 - 0.05 / len(steps)
    lines = [
        f"{machine} `fast`, {epochs} epochs on MNIST ({len(dataset.x_train):,} images), evaluated on "
        f"{len(some.x_validation):,} validation images and their corruptions; means over {seeds} seeds. A step is the "
        f"mean difference to the kind before, over the seeds, on the graded corruptions, with Student's interval at "
        f"{level:.1%}, so that all {len(steps)} together hold at 95 %; p is of the paired t test, corrected after Holm.",
        "",
        "| augment | clean | graded, mean | step, points | corrected p | MNIST-C, mean | its worst | inverted | `digits` |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for kind, trials in found.items():
        table = sum(one.mnist_c.table["accuracy"] for one in trials) / seeds
        worst = table[list(trials[0].mnist_c.table.index[trials[0].mnist_c.table["group"] == "MNIST-C"])]
        mnist_c = np.mean([one.mnist_c.mean for one in trials])
        lines.append(
            f"| {kind} | {table['clean']:.2%} | {graded[kind].mean():.1%} "
            f"| {_step(steps[kind], p_values[kind], level) if kind in steps else '| '} | {mnist_c:.1%} "
            f"| {worst.idxmin().replace('_', ' ')} {worst.min():.1%} | {table['inverted']:.1%} | {table['digits']:.1%} |"
        )
    return "\n".join(lines)


def _train(kind: str, seed: int, epochs: int, dataset: Dataset, digits: Dataset) -> _Trial:
    config = make_config(model="fast", dataset="mnist", augment=kind, epochs=epochs, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        model = fit.train(config, dataset, Path(folder), progress=False).model
    x, y = dataset.x_validation, dataset.y_validation
    predict = partial(fit.predict_probabilities, model)
    graded = measure_severities(predict, x, y, seed=seed).query("severity > 0")["accuracy"].mean()
    found = measure_robustness(predict, x, y, others=(digits,), seed=seed)
    clean = found.table["accuracy"].iloc[0]
    print(f"{kind}, seed {seed}: clean {clean:.2%}, graded {graded:.2%}, MNIST-C {found.mean:.2%}", flush=True)
    return _Trial(float(graded), found)


def _step(differences: np.ndarray, p_value: float, level: float) -> str:
    low, high = ttest_1samp(differences, 0).confidence_interval(level)
    significance = "" if p_value < 0.05 else " (not significant)"
    between = f"{100 * low:+z.1f} to {100 * high:+z.1f}"
    return f"{100 * differences.mean():+z.1f} ({between}){significance} | {format_p_value(p_value)}"


if __name__ == "__main__":
    main()
