"""`mnist sweep`: many trainings, compared."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_utils import ConfigError
from mnist_utils.cli.console import fail, show_table
from mnist_utils.cli.options import DataDirOption, JsonOption, ResultsOption

if TYPE_CHECKING:
    from mnist_utils.experiments.grid import Trial
    from mnist_utils.runs.run import Run


def sweep_command(
    parameter: Annotated[
        list[Any] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME VALUES",
            help="hyper-parameter of mnist train and its values: 0,0.25,0.5 or whole numbers 0:5, which is 0 to 4; with "
            "--random also low..high and log:low..high; repeatable",
        ),
    ] = None,
    parameters_file: Annotated[
        Path | None, typer.Option("--parameters-file", "-f", help="YAML file of them, name: values; -p overrides it")
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(help="sample this many settings; each is trained with every seed", show_default="all of them"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes on this machine, which share its cores", show_default="1")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="a Dask scheduler's address in place of --workers: tls://host:8786", show_default=False),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="how often a trial that fails is tried again")] = 1,
    name: Annotated[str | None, typer.Option(help="name of the sweep's folder", show_default="after its parameters")] = None,
    results: ResultsOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")] = False,
) -> None:
    """Train a model for each combination of values, on this machine or a cluster, and compare them in a report.

    Each trial is a run. If the sweep is stopped, give the same command: finished trials are kept, and a trial resumes after
    its last epoch.
    """
    from rich.console import Console

    from mnist_utils.experiments import grid, runner, store
    from mnist_utils.pipeline import parameters
    from mnist_utils.runs.find import results_dir
    from mnist_utils.runs.folder import run_lock

    given = parameters.read_parameters_file(parameters_file, as_text=True) if parameters_file else {}
    varied: dict[str, str] = {}
    for one, values in parameter or []:
        if one in varied:
            raise ConfigError(f"{one}: given twice; allowed: once, with all its values: -p {one} A,B")
        varied[one] = values
    given |= varied
    if workers and scheduler:
        raise ConfigError(
            f"workers: given {workers} with a scheduler, which has its own workers; allowed: one of the two options"
        )
    if not given:
        raise ConfigError("nothing to vary: give at least one parameter with its values, as in -p seed 0:5")
    trials, note = grid.make_trials(given, random=random, data_dir=data_dir, runs_folder=results)
    folder = store.new_sweep_folder(name or grid.sweep_name(trials), results_dir(results))
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
    if note:
        console.print(f"note: {note}", style="yellow")

    def so_far() -> str:
        return f"{len(trials) - len(store.pending_trials(folder, trials))} of {len(trials)} trials are done"

    try:
        with run_lock(folder, folder.name, kind="sweep", option="name"):
            store.write_definition(folder, given, random, trials)
            left = len(store.pending_trials(folder, trials))
            console.print(f"{len(trials)} trial{'s' * (len(trials) > 1)}, {left} of them to train, into {folder}")
            if left:
                with console.status("starting the workers"):
                    stack = contextlib.ExitStack()
                    client = stack.enter_context(
                        runner.connect_cluster(scheduler) if scheduler else runner.local_cluster(min(workers or 1, left))
                    )
                with stack:
                    if scheduler and not runner.has_workers(client):
                        console.print(f"waiting for workers; start some: dask worker {scheduler} --nthreads 1")
                    where = None if scheduler else data_dir and data_dir.absolute()
                    runner.run_trials(client, trials, folder, retries=retries, data_dir=where, progress=not quiet)
            found = store.read_trials(folder, trials)
            table = store.write_table(folder, trials, found)
            page = _sweep_report(folder, trials, found)
    except KeyboardInterrupt:
        fail(f"stopped: {so_far()}. To resume, give the same command.", 130)
    except store.SweepError as error:
        fail(f"{error}. {so_far()}; to resume, give the same command.", 1)
    if as_json:
        print(table.reset_index().to_json(orient="records"))
    else:
        _print_sweep(folder, trials, found, page)
    if (table["state"] != "done").any():
        raise typer.Exit(1)


def _sweep_report(folder: Path, trials: list[Trial], found: dict[str, Run]) -> Path:
    from mnist_utils.experiments import report

    return report.write_sweep_report(folder, trials, found)


def _print_sweep(folder: Path, trials: list[Trial], found: dict[str, Run], page: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mnist_utils.experiments import store
    from mnist_utils.experiments.results import (
        best_setting,
        describe_setting,
        format_interval,
        formatted_settings,
        ranked_count,
        settings_table,
        trial_parameters,
        trials_table,
    )

    if done := store.trained_runs(found):
        rows = trials_table(done)
        settings, best = settings_table(rows), best_setting(done, rows)
        table = Table(box=SIMPLE_HEAD)
        words = formatted_settings(settings)
        for column in words.columns:
            numbers = column not in trial_parameters(rows)
            table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
        for row in words.head(_MOST_SETTINGS).itertuples(index=False):
            table.add_row(*(str(value) for value in row))
        show_table(table)
        if len(settings) > _MOST_SETTINGS:
            print(f"and {len(settings) - _MOST_SETTINGS} more: see the report")
        ranked = ranked_count(settings)
        luck = "by validation" + (
            f"; selected from {ranked} settings, so its validation accuracy is optimistic" if ranked > 1 else ""
        )
        luck += f"; {len(settings) - ranked} with fewer seeds not ranked" if ranked < len(settings) else ""
        print(f"{'best setting':19}  {describe_setting(best.setting)} ({luck})")
        seeds = f"{len(best.runs)} seed{'s' if len(best.runs) > 1 else ''}"
        print(f"{'its test accuracy':19}  {format_interval(best.test)}, {seeds} of {rows['data'].iloc[0]}")
    for trial in trials:
        if (run := found.get(trial.key)) and not store.is_trained(run):
            print(f"{'failed':19}  {trial.key}: {run.incomplete}")
    print(f"{'table':19}  {folder / 'table.csv'}")
    print(f"{'report':19}  {page}")


_MOST_SETTINGS = 20  # on the screen
