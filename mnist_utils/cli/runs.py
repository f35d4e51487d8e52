"""`mnist evaluate`, `runs`, `compare` and `show`: recorded runs."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mnist_utils import ConfigError
from mnist_utils.cli.console import format_accuracy, format_epochs, show_table
from mnist_utils.cli.options import DataDirOption, JsonOption, RawOption, ResultsOption, SkipOption
from mnist_utils.cli.pipeline import write_run_report

if TYPE_CHECKING:
    from mnist_utils.evaluation.robustness import Robustness
    from mnist_utils.runs.run import Run


def evaluate_command(
    run: Annotated[str, typer.Argument(help="a run's name or folder")],
    robustness: Annotated[
        bool, typer.Option("--robustness", help="predict the test images again, changed in twenty ways")
    ] = False,
    corruption: Annotated[
        list[str] | None,
        typer.Option(help="with --robustness, a change of your own: file.py:function; repeatable", show_default=False),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="other data to predict: the path of your own, or a data set's name", show_default="the run's own"),
    ] = None,
    raw: RawOption = False,
    skip_unreadable: SkipOption = False,
    results: ResultsOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run: from its recorded predictions, on other data, or on corrupted test images.

    With [bold]--dataset[/bold], all images of your own data are predicted, or their test part if they have one. Each of
    their classes must be one of the run's. With [bold]--robustness[/bold], the table and a figure are also written into the
    run's folder and its report.
    """
    from dataclasses import asdict

    from mnist_utils.runs.evaluate import summarize_run
    from mnist_utils.runs.find import read_run, results_dir

    for name, given in ("raw", raw), ("skip_unreadable", skip_unreadable):
        if given and dataset is None:
            raise ConfigError(f"{name}: given without --dataset; allowed: with the path of your own pictures")
    if robustness and dataset is not None:
        raise ConfigError("robustness: given with --dataset; allowed: one of them, as it changes the run's own test images")
    if corruption and not robustness:
        raise ConfigError(f"corruption: given {corruption[0]} without --robustness; allowed: with it")
    found = read_run(run, results_dir(results))
    if dataset is not None:
        _evaluate_data(found, dataset, data_dir, raw, skip_unreadable, as_json)
        return
    if robustness:
        _evaluate_robustness(found, data_dir, corruption or [], as_json)
        return
    rows = asdict(summarize_run(found))
    if as_json:
        print(json.dumps({"run": found.name} | rows))
        return
    print(f"{found.describe()}; {rows['n']:,} test images, 95 % intervals over them")
    _print_summary(rows)


def _print_summary(rows: dict[str, Any]) -> None:
    from mnist_utils.evaluation.statistics import format_p_value

    for name in "accuracy", "expected_calibration_error":
        low, high = rows[f"{name}_interval"]
        print(f"{name.replace('_', ' '):26}  {rows[name]:6.2%} ({low:.2%} to {high:.2%})")
    print(f"{'log loss':26}  {rows['log_loss']:.4f} nats")
    errors = rows["errors"]
    fits = (
        "as expected"
        if errors["p_value"] >= 0.05
        else "too sure"
        if errors["observed"] > errors["expected"]
        else "too cautious"
    )
    told = (
        f"{errors['observed']:,}, by the confidence {errors['expected']:.0f}: {fits} ({format_p_value(errors['p_value'])})"
    )
    print(f"{'errors':26}  {told}")


def _evaluate_data(run: Run, name: str, data_dir: Path | None, raw: bool, skip_unreadable: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from mnist_utils.cli.console import reading_progress
    from mnist_utils.runs.evaluate import evaluate_data
    from mnist_utils.training.config import make_config

    config = make_config(dataset=name, raw=raw, skip_unreadable=skip_unreadable)
    with reading_progress() as done:
        found = evaluate_data(
            run, config.dataset, data_dir=data_dir, raw=config.raw, skip_unreadable=config.skip_unreadable, done=done
        )
    rows = asdict(found.summary)
    if as_json:
        about = {"run": run.name, "dataset": found.source, "part": found.part, "note": found.note}
        print(json.dumps(about | rows))
        return
    print(run.describe())
    print(f"{found.source}: {found.part}, n = {rows['n']:,}, 95 % intervals over them")
    _print_summary(rows)
    if found.note:
        print(f"{'note':26}  {found.note}")


def _evaluate_robustness(run: Run, data_dir: Path | None, own: list[str], as_json: bool) -> None:
    from mnist_utils._support.progress import progress_display
    from mnist_utils.runs.evaluate import evaluate_robustness, robustness_json, write_robustness

    with progress_display(1) as show:
        found = evaluate_robustness(
            run,
            data_dir=data_dir,
            own=own,
            done=lambda step, steps: show(step / steps, f"{step} of {steps} kinds of images"),
        )
    if as_json:
        print(json.dumps({"run": run.name} | robustness_json(found)))
    else:
        _print_robustness(run, found)
    for path in (*write_robustness(run, found), write_run_report(run.path)):
        print(f"written: {path}", file=sys.stderr)


def _print_robustness(run: Run, found: Robustness) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in "images", "kind":
        table.add_column(column, no_wrap=True)
    for column in "n", "accuracy", "95 %", "confidence":
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("against clean, percentage points", justify="right")
    for row in found.table.reset_index().to_dict("records"):
        significance = "" if row["p_value"] < 0.05 else " (not significant)"
        against = "" if math.isnan(row["p_value"]) else f"{100 * row['difference']:+z.2f}{significance}"
        between = f"{100 * row['low']:.2f}-{100 * row['high']:.2f}"
        name = row["change"].replace("_", " ")
        confidence = f"{row['confidence']:.1%}"
        table.add_row(name, row["group"], f"{row['n']:,}", f"{row['accuracy']:.2%}", between, confidence, against)
    low, high = found.mean_interval
    print(run.describe())
    show_table(table)
    print(
        f"the fifteen of MNIST-C: mean accuracy {found.mean:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"worst {found.worst.replace('_', ' ')} with {found.worst_accuracy:.1%}"
    )
    print("confidence: the mean; where it is above the accuracy, the model is too sure of itself")
    print("intervals over test images; significance by McNemar's test at 5 %, Holm's correction")


def runs_command(results: ResultsOption = None, as_json: JsonOption = False) -> None:
    """List all runs, for each data set the best validation accuracy first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from mnist_utils.runs.find import list_runs, results_dir

    folder = results_dir(results)
    found = list_runs(folder)
    if as_json:
        print(json.dumps([_as_json(run) for run in found]))
        return
    if not found:
        print(f"no runs in {folder} yet; make one with: mnist train")
        return
    table = Table(caption=Text(f"{folder}; 95 % intervals over the images"), caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    table.add_column("model")  # what gives way in a narrow terminal
    for column in "validation", "test", "training":
        table.add_column(column, no_wrap=True)
    for run in found:
        model = f"{run.config.model} on {run.dataset_name}" if run.facts else "none yet"
        recipe = f"{format_epochs(run.config.epochs)}, seed {run.config.seed}" if run.facts else ""
        recipe = "imported" if run.imported else recipe
        if not run.metrics:
            numbers = "incomplete", "", ""
        else:
            seconds = "" if run.imported else f"{run.metrics.seconds['training']:.1f} s"
            validated = run.metrics.validation
            first = format_accuracy(validated, "\n") if validated else "none"
            numbers = first, format_accuracy(run.metrics.test, "\n"), seconds
        table.add_row(run.name, f"{model}\n{recipe}", *numbers)
    show_table(table)
    for run in found:
        if run.incomplete:
            done = run.epochs_done
            how_far = "" if done is None else f" ({done} of {format_epochs(run.config.epochs)} done)"
            print(f"{run.name} is incomplete: {run.incomplete}{how_far}")


def _as_json(run: Run) -> dict[str, Any]:
    row = {"run": run.name, "path": str(run.path), "incomplete": run.incomplete, "dataset": run.dataset_name}
    found = run.metrics
    accuracies = (
        {part: getattr(found, part) and getattr(found, part).accuracy for part in ("validation", "test")} if found else {}
    )
    return row | {"config": run.facts.get("config", {}), "accuracy": accuracies, "epochs_done": run.epochs_done}


def compare_command(
    a: Annotated[str, typer.Argument(help="a run's name or folder")],
    b: Annotated[str, typer.Argument(help="another, trained on the same data")],
    test: Annotated[
        bool, typer.Option("--test", help="compare on the test images: once, at the end, what was chosen without them")
    ] = False,
    results: ResultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test whether run B is better than run A on the same validation images."""
    from dataclasses import asdict

    from mnist_utils.evaluation.statistics import format_p_value
    from mnist_utils.runs.compare import compare_runs
    from mnist_utils.runs.find import read_run, results_dir

    folder = results_dir(results)
    run_a, run_b = read_run(a, folder), read_run(b, folder)
    part: Literal["validation", "test"] = "test" if test else "validation"
    found = compare_runs(run_a, run_b, part)
    if as_json:
        print(json.dumps({"a": run_a.name, "b": run_b.name, "part": part} | asdict(found)))
        return
    low, high = found.difference_interval
    for letter, run in ("A", run_a), ("B", run_b):
        accuracy = format_accuracy(run.trained().test if test else run.trained().validated())
        print(f"{letter}  {run.name}: {accuracy} of {found.n:,} {run.dataset_name} {part} images")
    print(f"only A is correct on {found.only_a} images, only B on {found.only_b}")
    between = f"{100 * low:+z.2f} to {100 * high:+z.2f}"
    print(f"B minus A: {100 * found.difference:+z.2f} percentage points (95 % interval {between})")
    print(f"McNemar's exact test: {format_p_value(found.p_value)}")
    if found.p_value >= 0.05:
        print("Verdict: the difference is not significant on these images.")
    else:
        print(f"Verdict: {'B' if found.difference > 0 else 'A'} is better (5 % level; one comparison, one seed each).")


def show_command(run: Annotated[str, typer.Argument(help="a run's name or folder")], results: ResultsOption = None) -> None:
    """Open a run's figures in windows, where there is a display."""
    from mnist_utils.runs.find import read_run, results_dir

    found = read_run(run, results_dir(results))
    found.trained("figures yet")
    if found.dataset_note:
        print(f"note: {found.dataset_note}")
    files = sorted(str(path) for path in (found.path / "figures").glob("*.png"))
    os.environ.setdefault("MPLBACKEND", "macosx" if sys.platform == "darwin" else "TkAgg")
    try:
        import matplotlib.pyplot as plt

        plt.switch_backend(os.environ["MPLBACKEND"])
    except (ImportError, ValueError) as error:  # no display, no such backend, no toolkit for it
        reason = "there is no display" if "headless" in str(error) else str(error).partition("\n")[0]
        figures = {}
    else:
        reason = f"matplotlib's backend {plt.get_backend()} has none"
        figures = {name: found.figure(name, figure=plt.figure()) for name in found.figures}
    shown = figures and all(figure.canvas.required_interactive_framework for figure in figures.values())
    if not shown:
        print(f"no window can be opened: {reason}. The figures are:\n" + "\n".join(files))
        return
    for name, figure in figures.items():
        figure.canvas.manager.set_window_title(f"{found.name}: {name.replace('_', ' ')}")  # type: ignore[union-attr]
    print("close the windows to continue. The same figures are:\n" + "\n".join(files))
    plt.show()
