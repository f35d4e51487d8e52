"""How long each network trains until its validation accuracy is 99.0 %, and 99.2 %.

python -m benchmarks.time_to_accuracy [--models fast,simple] [--write]

With its own recipe, one seed; accuracies are known at the end of each epoch. Needs real MNIST (MNIST_DATA_DIR).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.results import arguments, publish, where
from mnist_utils.data.datasets import load_dataset
from mnist_utils.training import fit
from mnist_utils.training.config import make_config

GOALS = 0.99, 0.992


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", default="fast,simple", help="names, with commas between")
    options = parser.parse_args()
    machine, dataset = where(), load_dataset("mnist")
    lines = [
        f"{machine} MNIST, {len(dataset.x_train):,} training images, {len(dataset.x_validation):,} for validation; seed 0.",
        "",
        "| model | epochs | best validation accuracy | s to 99.0 % | s to 99.2 % | s in all |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model in options.models.split(","):
        config = make_config(model=model, dataset="mnist", seed=0)
        with tempfile.TemporaryDirectory() as folder:
            history = pd.DataFrame(fit.train(config, dataset, Path(folder)).history)
        reached = " | ".join(seconds_to(history, goal) for goal in GOALS)
        best, whole = history["val_accuracy"].max(), history["seconds"].sum()
        lines.append(f"| `{model}` | {config.epochs} | {best:.2%} | {reached} | {whole:.0f} |")
    publish("python -m benchmarks.time_to_accuracy --write", "\n".join(lines), keep=options.write)


def seconds_to(history: pd.DataFrame, goal: float) -> str:
    """Write the seconds of training until the end of the first epoch with that validation accuracy."""
    enough = history["val_accuracy"] >= goal
    return f"{history['seconds'].cumsum()[enough].iloc[0]:.0f}" if enough.any() else "not reached"


if __name__ == "__main__":
    main()
