"""`mnist import`: a model that was made elsewhere becomes a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mnist_utils.cli.console import fail, print_result
from mnist_utils.cli.options import DataDirOption, JsonOption, ResultsOption


def import_command(
    model: Annotated[Path, typer.Argument(help="a .keras file", metavar="FILE")],
    dataset: Annotated[str, typer.Option(help="the data set that it is for: a name, or the path of your own data")],
    run: Annotated[str | None, typer.Option(help="name of the run's folder", show_default="date and model")] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="it returns logits, though its last activation is not linear")
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option(
            help="1/255: it takes values from 0 to 1; 1: it takes 0 to 255",
            show_default="what predicts the validation images better",
        ),
    ] = None,
    results: ResultsOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run of a Keras model of your own: add what it lacks, test it, calibrate it, and record everything about it.

    All commands then take it as any run. No code of the file is run.
    """
    from rich.console import Console

    from mnist_utils.runs.find import results_dir
    from mnist_utils.runs.folder import check_run_name, new_run_name
    from mnist_utils.runs.importing import check_new_name, parse_scale, read_foreign, record_foreign
    from mnist_utils.runs.model_files import refuse_other_forms
    from mnist_utils.training.config import make_config

    # Before the seconds that importing TensorFlow takes.
    multiplied, config, folder = parse_scale(scale), make_config(dataset=dataset), results_dir(results)
    refuse_other_forms(model)
    if run is not None:
        check_run_name(run)
        check_new_name(run, folder)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        with console.status("loading TensorFlow, the data and the model"):
            from mnist_utils.training.fit import load_training_data

            config, data = load_training_data(config, data_dir=data_dir)
            foreign = read_foreign(model, config, data, scale=multiplied, logits=logits)
        for note in filter(None, [data.note, *foreign.notes]):
            console.print(f"note: {note}", style="yellow")
        name = new_run_name(foreign.config, folder) if run is None else run
        with console.status("predicting, calibrating, writing"):
            made = record_foreign(foreign, data, name, folder)
    except KeyboardInterrupt:  # else the command line's library says no more than "Aborted"
        fail("stopped. Nothing was written.", 130)
    if as_json:
        found = {"run": made.name, "path": str(made.path), "dataset": made.dataset_name, "note": made.dataset_note}
        print(json.dumps(found | asdict(made.trained())))
    else:
        print_result(made)
