"""The `mnist` command: parses, calls, prints. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated

import typer

from mnist_utils import MnistError, __version__
from mnist_utils.cli.console import DISK_FULL, PATH_REFUSED, fail
from mnist_utils.cli.options import NameValueCommand, train_options
from mnist_utils.cli.pipeline import run
from mnist_utils.cli.predict import predict
from mnist_utils.cli.runs import compare, evaluate, list_runs, show
from mnist_utils.cli.serve import doctor, export, serve
from mnist_utils.cli.sweep import sweep
from mnist_utils.cli.train import data, train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, record, compare and use networks that read handwritten digits.",
)
app.command()(data)
app.command()(train)
app.command(cls=NameValueCommand)(run)
app.command(cls=NameValueCommand)(sweep)
app.command()(predict)
app.command()(evaluate)
app.command("runs")(list_runs)
app.command()(compare)
app.command()(show)
app.command()(serve)
app.command()(export)
app.command()(doctor)


def _version(shown: bool) -> None:
    if shown:
        print(f"mnist {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


def main() -> None:
    """Run the command line; turn what a person can mend into a message and a status."""
    try:
        # `train` has the options of TrainConfig, and importing pydantic for them would double the time of `mnist --help`.
        if "train" in sys.argv[1:2]:
            train.__signature__ = inspect.Signature(train_options())  # type: ignore[attr-defined]
        app()
    except MnistError as error:
        fail(str(error), error.status)
    except OSError as error:
        if error.errno not in (DISK_FULL | PATH_REFUSED):
            raise
        mend = "Free some space and give the same command." if error.errno in DISK_FULL else "Choose another folder."
        fail(f"cannot read or write{f' {error.filename}' if error.filename else ''}: {error.strerror}. {mend}", 1)


if __name__ == "__main__":
    main()
