"""`mnist data` and `mnist train`."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from mnist_utils.cli.console import fail, format_epochs, print_result
from mnist_utils.cli.options import DataDirOption, JsonOption, RawOption, SkipOption


def data_command(
    dataset: Annotated[
        str,
        typer.Option(help="a name (mnist train -h lists them), or the path of your own data; auto: mnist, else digits"),
    ] = "auto",
    raw: RawOption = False,
    skip_unreadable: SkipOption = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find or download a data set, check it, and describe it."""
    from mnist_utils.cli.console import reading_progress
    from mnist_utils.data.datasets import load_dataset
    from mnist_utils.training.config import make_config

    config = make_config(dataset=dataset, raw=raw, skip_unreadable=skip_unreadable)
    with reading_progress() as done:
        found = load_dataset(config.dataset, data_dir=data_dir, raw=raw, skip_unreadable=skip_unreadable, done=done)
    facts = {
        "dataset": found.name,
        "source": found.source,
        "training": len(found.x_train),
        "validation": len(found.x_validation),
        "test": len(found.x_test),
        "sha256": found.sha256,
        "note": found.note,
    }
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        if value != "":
            print(f"{name:10}  {value:,} images" if isinstance(value, int) else f"{name:10}  {value}")


def train_command(
    *,
    config: Path | None,
    run: str | None,
    results: Path | None,
    data_dir: Path | None,
    tensorboard: Path | None,
    as_json: bool,
    quiet: bool,
    **hyper_parameters: Any,
) -> None:
    """Train a model, test it once, and record everything about it in a run's folder.

    A run that was killed resumes after its last epoch: give the same command with its [bold]--run[/bold] name.
    """
    from rich.console import Console

    from mnist_utils.runs.find import is_trained, results_dir
    from mnist_utils.runs.folder import new_run_folder, new_run_name
    from mnist_utils.runs.record import check_resumable, find_start, make_initialize, record_run
    from mnist_utils.training.config import make_config

    if config:  # what was not given is None, or False for a flag
        given = {name: value for name, value in hyper_parameters.items() if value not in (None, False)}
        hyper_parameters |= _read_config(config, given) | given
    settings = make_config(**hyper_parameters)  # before the seconds that importing TensorFlow takes
    folder = results_dir(results)
    name = new_run_name(settings, folder) if run is None else new_run_folder(run, folder).name
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
    try:
        with console.status("loading TensorFlow and the data") as status:
            from mnist_utils.runs.tensorboard import tensorboard_callback, write_result
            from mnist_utils.training.fit import check_network, load_training_data

            settings, dataset = load_training_data(
                settings, data_dir=data_dir, done=lambda at, n: status.update(f"reading pictures: {at:,} of {n:,}")
            )
            start = find_start(settings, folder, dataset.sha256)
            notes = [dataset.note, *check_network(settings, len(dataset.classes), make_initialize(settings, folder))]
        for note in filter(None, notes):
            console.print(f"note: {note}", style="yellow")
        already, callbacks = is_trained(folder / name), []
        if not already:
            done = check_resumable(folder / name, settings, dataset)
            if tensorboard is not None:
                callbacks.append(tensorboard_callback(tensorboard, name, settings))
            console.print(
                f"{f'resuming after epoch {done}:' if done else 'training'} {settings.model} on {dataset.name} "
                f"({len(dataset.x_train):,} images, {format_epochs(settings.epochs)}, batch size {settings.batch_size}, "
                f"seed {settings.seed}){f' from run {start.name}' if start else ''} into {folder / name}"
            )
        made = record_run(settings, dataset, name, folder, callbacks=callbacks, progress=not quiet)
        if tensorboard is not None:
            write_result(made, tensorboard, curves=already)
            needed = "" if find_spec("tensorboard") else "  (needs: pip install tensorboard)"
            console.print(f"to see the curves: tensorboard --logdir {tensorboard}{needed}")
    except KeyboardInterrupt:  # else the command line's library says no more than "Aborted"
        started = (folder / name / "config.json").exists()
        fail(
            f"stopped. {f'To resume, give the same command with --run {name}.' if started else 'Nothing was started.'}", 130
        )
    finally:
        _remove_if_empty(folder / name)
    if already:
        console.print(f"run {name} is complete; these are its results", style="yellow")
    if as_json:
        found = {"run": made.name, "path": str(made.path), "dataset": made.dataset_name, "note": made.dataset_note}
        print(json.dumps(found | asdict(made.trained())))
    else:
        print_result(made)


def _read_config(path: Path, given: Collection[str]) -> dict[str, Any]:
    """Read hyper-parameters from a run's ``config.json`` or from a YAML file; own functions are those kept beside it.

    `given` names those that are not taken from the file.
    """
    from mnist_utils import ConfigError
    from mnist_utils.pipeline.parameters import read_parameters_file
    from mnist_utils.runs.run import AUGMENT, NETWORK

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = read_parameters_file(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: allowed: a run's config.json, or lines of the form name: value")
    run = isinstance(content.get("config"), dict)
    values = {str(name): value for name, value in (content["config"] if run else content).items() if name not in given}
    for field, kept in ("model", NETWORK), ("augment", AUGMENT):
        own = re.fullmatch(r"(.+)@[0-9a-f]{8}", str(values.get(field, ""))) if run else None
        if not own:
            continue
        file, _, function = own[1].rpartition(":") if ".py:" in own[1] else (own[1], "", "")
        if not file.endswith(".py") or not path.with_name(kept).is_file():
            why = (
                "comes from a notebook, whose imports were not kept"
                if path.with_name(kept).is_file()
                else "was made elsewhere"
            )
            raise ConfigError(f"{path}: {field} {own[1]} {why}; give it with --{field} file.py:function")
        values[field] = f"{path.with_name(kept)}{f':{function}' if function else ''}"
    return values


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or gone
        folder.rmdir()
