"""`mnist run`: the notebooks in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_utils import ConfigError
from mnist_utils.cli.console import fail, print_result, show_table
from mnist_utils.cli.options import DataDirOption, ResultsOption

if TYPE_CHECKING:
    from mnist_utils.pipeline.execute import StepResult


def run_command(
    parameter: Annotated[
        list[Any] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="parameter of the notebooks that have it; repeatable"),
    ] = None,
    parameters_file: Annotated[
        Path | None, typer.Option("--parameters-file", "-f", help="YAML file of parameters, name: value; -p overrides it")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="numbers or names, with commas between: 02,06", show_default="all")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick: the notebooks' own defaults; full: longer trainings; -p and -f override both")
    ] = "quick",
    run: Annotated[str | None, typer.Option(help="name of the run's folder", show_default="date and model")] = None,
    results: ResultsOption = None,
    data_dir: DataDirOption = None,
    dataset: Annotated[str | None, typer.Option(help="auto, mnist, digits, fashion_mnist or kmnist")] = None,
) -> None:
    """Execute the notebooks in order, record everything in a run's folder, and write its report.

    A run that failed or was stopped resumes at the first incomplete notebook: give the same command with its
    [bold]--run[/bold] name. [bold]papermill --help-notebook notebooks/02_train.ipynb[/bold] explains a notebook's
    parameters.
    """
    from rich.console import Console

    from mnist_utils.pipeline import execute, parameters
    from mnist_utils.runs.find import results_dir
    from mnist_utils.runs.folder import new_run_name
    from mnist_utils.training.config import make_config

    given = parameters.read_parameters_file(parameters_file) if parameters_file else {}
    given |= dict(parameter or [])
    for name, value in ("data_dir", data_dir and str(data_dir.absolute())), ("dataset", dataset):
        given |= {name: value} if value is not None else {}
    for name in "run", "results":
        if name in given:
            raise ConfigError(f"{name}: is no parameter here; give it as --{name}")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with console.status("reading the notebooks"):
        steps = parameters.resolve_parameters(parameters.select_notebooks(only), given, profile=profile)
    folder = results_dir(results)
    if run is None:
        model = next((step.given.get("model") for step in steps if step.name == parameters.TRAINING_NOTEBOOK), None)
        run = new_run_name(make_config(model=model or None), folder)
    console.print(f"{len(steps)} notebook{'' if len(steps) == 1 else 's'} into {folder / run}")
    try:
        done = execute.run_notebooks(steps, run, folder, console)
        page = write_run_report(folder / run)
    except parameters.NotebookError as error:
        fail(f"{error}\nTo resume, give the same command with --run {run}.", error.status)
    except KeyboardInterrupt:
        fail(f"stopped. To resume, give the same command with --run {run}.", 130)
    _print_pipeline(done, folder / run, page)


def write_run_report(folder: Path) -> Path:
    """Write a run's report, and return its path."""
    from mnist_utils.pipeline import report

    return report.write_report(folder)


def _print_pipeline(done: list[StepResult], folder: Path, page: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mnist_utils.runs.find import is_trained, read_run

    table = Table(box=SIMPLE_HEAD)
    table.add_column("notebook", no_wrap=True)
    table.add_column("seconds", justify="right")
    for notebook in done:
        table.add_row(notebook.name, f"{notebook.seconds:.1f}{' (before)' if notebook.before else ''}")
    show_table(table)
    if is_trained(folder):
        print_result(read_run(folder, folder.parent))
    else:
        print(f"{'run':19}  {folder}, in which no model was trained")
    print(f"{'report':19}  {page}")
