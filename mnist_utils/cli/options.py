"""The options that commands share, and those that are made from `TrainConfig`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

DataDirOption = Annotated[
    Path | None,
    typer.Option(help="folder with MNIST's four IDX files or mnist.npz (or set MNIST_DATA_DIR)", show_default=False),
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="resize your own pictures and do nothing else: they must be white on black, as MNIST's")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="leave out those of your own pictures that cannot be read")
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(help="folder of all runs (or set MNIST_RESULTS; else results/ in the clone)", show_default=False),
]
TensorboardOption = Annotated[
    Path | None,
    typer.Option(help="folder for TensorBoard: write the curves there, too", show_default=False, metavar="LOGS"),
]
ModelOption = Annotated[str | None, typer.Option(help="a run, a .tflite or a .keras file", show_default="the reference run")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]

_SPELT = {"from_run": "from"}  # `from` is a word of Python's
_PANELS = {
    "dataset": "Data",
    "model": "Model",
    "epochs": "Training",
}


def train_options() -> list[inspect.Parameter]:
    """Make an option of every field of `TrainConfig`, so that none is stated twice."""
    from mnist_utils.training.config import FLAGS, TrainConfig, allowed_values

    options, panel = [], ""
    for name, field in TrainConfig.model_fields.items():
        panel = _PANELS.get(name, panel)
        if name in FLAGS:
            flag = typer.Option(f"--{name.replace('_', '-')}", help=field.description, rich_help_panel=panel, metavar="")
            options.append(_option(name, Annotated[bool, flag], False))
            continue
        help_text = f"{field.description} [dim]({allowed_values(name)}) [default: {default_text(name)}][/dim]"
        option = typer.Option(
            f"--{_SPELT.get(name, name).replace('_', '-')}",
            help=help_text.replace("[default", r"\[default"),
            rich_help_panel=panel,
            show_default=False,
            metavar="",
        )
        # Text: TrainConfig is what checks it, in the same words at every door.
        options.append(_option(name, Annotated[str | None, option], None))
    config_help = "a run's config.json, to repeat it, or a YAML file of hyper-parameters; other options override it"
    fixed: list[tuple[str, Any, Any]] = [
        ("config", Annotated[Path | None, typer.Option("--config", "-f", help=config_help, show_default=False)], None),
        (
            "run",
            Annotated[str | None, typer.Option(help="name of the run's folder", show_default="date and model")],
            None,
        ),
        ("results", ResultsOption, None),
        ("data_dir", DataDirOption, None),
        ("tensorboard", TensorboardOption, None),
        ("as_json", JsonOption, False),
        ("quiet", Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")], False),
    ]
    return options + [_option(*row) for row in fixed]


def default_text(field: str) -> str:
    """Describe the default of a field, for each model if they differ (for help texts)."""
    from mnist_utils.training.config import FLAGS, TrainConfig
    from mnist_utils.training.network import NAMES

    values = {model: getattr(TrainConfig(model=model), field) for model in NAMES}
    if values["fast"] == "":
        return "none"
    if values["fast"] is None:
        return "off" if field == "patience" else "all"
    if field in FLAGS:
        return "off"
    if field == "model" or len(set(values.values())) == 1:
        return str(values["fast"])
    return ", ".join(
        f"{model} {value:g}" if isinstance(value, float) else f"{model} {value}" for model, value in values.items()
    )


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


class NameValueCommand(TyperCommand):
    """Lets `-p` take a name and a value, as papermill's does: Typer knows no list of pairs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        next(option for option in self.params if option.name == "parameter").nargs = 2
