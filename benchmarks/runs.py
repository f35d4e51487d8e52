"""Collect the trainings behind the README's table into runs.csv: those that RESULTS.md holds, and the committed run.

python -m benchmarks.runs [--write]
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from benchmarks.results import RESULTS, arguments
from mnist_utils.runs.find import read_run
from mnist_utils.training.config import make_config

RUNS = Path(__file__).with_name("runs.csv")
REFERENCE = Path(__file__).parents[1] / "results"


def main() -> None:
    options = arguments(__doc__).parse_args()
    table = collect_runs(RESULTS.read_text(encoding="utf-8"))
    print(table.to_string(index=False))
    if options.write:
        table.to_csv(RUNS, index=False)


def collect_runs(text: str) -> pd.DataFrame:
    """Read the tables that `benchmarks.accuracy` printed, and add the committed run."""
    rows = []
    for model, printed in re.findall(
        r"<!-- python -m benchmarks\.accuracy (\w+) --write -->(.*?)<!-- its end -->", text, re.S
    ):
        config = make_config(model=model)
        date, cpu = re.findall(r"^(\d{4}-\d\d-\d\d), (.*?), load", printed, re.MULTILINE)[0]
        line = r"^\| (\d+) \| ([\d.]+)% \| ([\d.]+)% \| (\d+) \| (\d+) \|$"
        for seed, validation, test, errors, seconds in re.findall(line, printed, re.MULTILINE):
            rows.append(
                {
                    "command": f"mnist train --model {model} --seed {seed}",
                    **{"model": model, "augment": config.augment, "epochs": config.epochs, "seed": int(seed)},
                    "validation accuracy, %": float(validation),
                    "test accuracy, %": float(test),
                    **{"test errors": int(errors), "training, s": int(seconds), "date": date, "machine": cpu},
                }
            )
    run = read_run("reference", REFERENCE)
    found, config = run.trained(), run.config
    rows.append(
        {
            "command": "mnist train -f results/reference/config.json",
            **{"model": config.model, "augment": config.augment, "epochs": config.epochs, "seed": config.seed},
            "validation accuracy, %": round(100 * found.validated().accuracy, 2),
            "test accuracy, %": round(100 * found.test.accuracy, 2),
            "test errors": round(found.test.n * (1 - found.test.accuracy)),
            "training, s": round(found.seconds["training"]),
            "date": f"{run.started:%Y-%m-%d}",
            "machine": f"{run.facts['cpu']['name']}, {run.facts['cpu']['cores']} cores ({run.facts['cpu']['precision']})",
        }
    )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
