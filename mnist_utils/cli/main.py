"""The `mnist` command: parses, calls, prints. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated

import typer

from mnist_utils import MnistError
from mnist_utils.cli.console import DISK_FULL, PATH_REFUSED, fail
from mnist_utils.cli.importing import import_command
from mnist_utils.cli.options import NameValueCommand, train_options
from mnist_utils.cli.pipeline import run_command
from mnist_utils.cli.predict import predict_command
from mnist_utils.cli.runs import compare_command, evaluate_command, runs_command, show_command
from mnist_utils.cli.serve import doctor_command, export_command, serve_command
from mnist_utils.cli.sweep import sweep_command
from mnist_utils.cli.train import data_command, train_command

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, record, compare and use models that read handwritten digits.",
)
app.command("data")(data_command)
app.command("train")(train_command)
app.command("import")(import_command)
app.command("run", cls=NameValueCommand)(run_command)
app.command("sweep", cls=NameValueCommand)(sweep_command)
app.command("predict")(predict_command)
app.command("evaluate")(evaluate_command)
app.command("runs")(runs_command)
app.command("compare")(compare_command)
app.command("show")(show_command)
app.command("serve")(serve_command)
app.command("export")(export_command)
app.command("doctor")(doctor_command)


def _print_version(shown: bool) -> None:
    if shown:
        from mnist_utils import __version__

        print(f"mnist {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False) -> None:
    pass


def main() -> None:
    """Run the command line; turn an error that a person can fix into a message and a status."""
    try:
        # `mnist train` has TrainConfig's options, and importing pydantic for them would double the time of `mnist --help`.
        if "train" in sys.argv[1:2]:
            train_command.__signature__ = inspect.Signature(train_options())  # type: ignore[attr-defined]
        app()
    except MnistError as error:
        fail(str(error), error.status)
    except OSError as error:
        if error.errno not in (DISK_FULL | PATH_REFUSED):
            raise
        fix = "Free some space and give the same command." if error.errno in DISK_FULL else "Check the path."
        fail(f"cannot read or write{f' {error.filename}' if error.filename else ''}: {error.strerror}. {fix}", 1)


if __name__ == "__main__":
    main()
