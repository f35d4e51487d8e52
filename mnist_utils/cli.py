"""The `mnist` command: parses, calls, prints. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import contextlib
import errno
import inspect
import itertools
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from mnist_utils import ConfigError, MnistError, __version__

if TYPE_CHECKING:
    from rich.table import Table

    from mnist_utils.images import Polarity, Reading
    from mnist_utils.notebooks import Done
    from mnist_utils.robustness import Robustness
    from mnist_utils.runs import Run
    from mnist_utils.sweep import Point

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, record, compare and use networks that read handwritten digits.",
)

_DataDir = Annotated[
    Path | None,
    typer.Option(help="folder with MNIST's four IDX files or mnist.npz (or set MNIST_DATA_DIR)", show_default=False),
]
_Results = Annotated[
    Path | None,
    typer.Option(help="folder of all runs (or set MNIST_RESULTS; else results/ in the clone)", show_default=False),
]
_Model = Annotated[str | None, typer.Option(help="a run, a .tflite or a .keras file", show_default="the reference run")]
_Json = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]


def _version(shown: bool) -> None:
    if shown:
        print(f"mnist {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


@app.command()
def data(
    dataset: Annotated[
        str, typer.Option(help="auto, mnist, digits, fashion_mnist or kmnist; auto: mnist if it can be had, else digits")
    ] = "auto",
    data_dir: _DataDir = None,
    as_json: _Json = False,
) -> None:
    """Find or fetch a data set, check it, and say what it holds."""
    from mnist_utils import config
    from mnist_utils.data import load_dataset

    found = load_dataset(config.make_config(dataset=dataset).dataset, data_dir=data_dir)
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


_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

_PANELS = {
    "dataset": "Data",
    "model": "Network",
    "epochs": "Training",
}


@app.command()
def train(
    *,
    run: str | None,
    results: Path | None,
    data_dir: Path | None,
    as_json: bool,
    quiet: bool,
    **hyper_parameters: str | None,
) -> None:
    """Train a network, test it once, and record everything about it in a run's folder.

    A run that was killed goes on from its last epoch: give the same command with its [bold]--run[/bold] name.
    """
    from rich.console import Console

    from mnist_utils import config, runs

    given = config.make_config(**hyper_parameters)  # before the seconds that importing TensorFlow takes
    folder = runs.results_dir(results)
    name = runs.new_name(given, folder) if run is None else runs.new_folder(run, folder).name
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
    try:
        with console.status("loading TensorFlow and the data"):
            from mnist_utils.training import prepare

            settled, dataset = prepare(data_dir=data_dir, **hyper_parameters)
        if dataset.note:
            console.print(f"note: {dataset.note}", style="yellow")
        already = runs.is_whole(folder / name)
        if not already:
            console.print(
                f"training {settled.model} on {dataset.name} ({len(dataset.x_train):,} images, {_epochs(settled.epochs)} "
                f"of batch {settled.batch_size}, seed {settled.seed}) into {folder / name}"
            )
        with _no_notebooks(folder / name):
            made = runs.record(settled, dataset, name, folder, progress=not quiet)
    except KeyboardInterrupt:  # else the command line's library says no more than "Aborted"
        begun = (folder / name / "config.json").exists()
        _fail(f"stopped. {f'To go on, give the same command with --run {name}.' if begun else 'Nothing was begun.'}", 130)
    finally:
        _remove_if_empty(folder / name)
    if already:
        console.print(f"run {name} was finished already; this is what it found", style="yellow")
    if as_json:
        facts = made.config["dataset"]
        found = {"run": made.name, "path": str(made.path), "dataset": facts["name"], "note": facts["note"]}
        print(json.dumps(found | made.metrics))
    else:
        _print_result(made)


def _no_notebooks(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keep `mnist run` out of a run's folder, or be kept out by it."""
    from mnist_utils import runs

    place = folder / runs.NOTEBOOKS
    return runs.alone(place, folder.name) if place.is_dir() else contextlib.nullcontext()


def _epochs(n: int) -> str:
    return f"{n} epoch{'' if n == 1 else 's'}"


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty, or gone
        folder.rmdir()


def _print_result(run: Run) -> None:
    for part in "validation", "test":
        numbers = run.metrics[part]
        print(f"{part + ' accuracy':19}  {_share(numbers)} on {numbers['n']:,} images of {run.config['dataset']['name']}")
    print(f"{'training time':19}  {run.metrics['seconds']['training']:.1f} s")
    if note := run.config["dataset"]["note"]:
        print(f"{'note':19}  {note}")
    print(f"{'run':19}  {run.path}")


def _train_options() -> list[inspect.Parameter]:
    """Make an option of every field of `TrainConfig`, so that none is stated twice."""
    from mnist_utils import config

    options, panel = [], ""
    for name, field in config.TrainConfig.model_fields.items():
        panel = _PANELS.get(name, panel)
        help_text = f"{field.description} [dim]({config.allowed(name)}) [default: {config.defaults(name)}][/dim]"
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=help_text.replace("[default", r"\[default"),
            rich_help_panel=panel,
            show_default=False,
            metavar="",
        )
        # Text: TrainConfig is what checks it, in the same words at every door.
        options.append(_option(name, Annotated[str | None, option], None))
    fixed: list[tuple[str, Any, Any]] = [
        (
            "run",
            Annotated[str | None, typer.Option(help="name of the run's folder", show_default="date and model")],
            None,
        ),
        ("results", _Results, None),
        ("data_dir", _DataDir, None),
        ("as_json", _Json, False),
        ("quiet", Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")], False),
    ]
    return options + [_option(*row) for row in fixed]


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _add_train() -> None:
    # Its options come from TrainConfig, and importing pydantic for them would double the time of `mnist --help`.
    if "train" in sys.argv[1:2]:
        train.__signature__ = inspect.Signature(_train_options())  # type: ignore[attr-defined]


class _TwoWords(TyperCommand):
    """Lets `-p` take a name and a value, as papermill's does: Typer knows no list of pairs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        next(option for option in self.params if option.name == "parameter").nargs = 2


@app.command(cls=_TwoWords)
def run(
    parameter: Annotated[
        list[Any] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="parameter of the notebooks that have it; repeatable"),
    ] = None,
    parameters_file: Annotated[
        Path | None, typer.Option("--parameters-file", "-f", help="YAML file of parameters, name: value; -p wins over it")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="numbers or names, with commas between: 02,03", show_default="all")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="quick: the notebooks' own defaults; full: trains for longer; -p and -f win over both")
    ] = "quick",
    run: Annotated[str | None, typer.Option(help="name of the run's folder", show_default="date and model")] = None,
    results: _Results = None,
    data_dir: _DataDir = None,
    dataset: Annotated[str | None, typer.Option(help="auto, mnist, digits, fashion_mnist or kmnist")] = None,
) -> None:
    """Execute the notebooks in order, record everything in a run's folder, and write its report.

    A run that failed or was stopped goes on from the first notebook that is not done: give the same command with
    its [bold]--run[/bold] name. [bold]papermill --help-notebook notebooks/02_train.ipynb[/bold] explains a notebook's
    parameters.
    """
    from rich.console import Console

    from mnist_utils import config, notebooks, runs

    given = notebooks.read_parameters(parameters_file) if parameters_file else {}
    given |= dict(parameter or [])
    for name, value in ("data_dir", data_dir and str(data_dir.absolute())), ("dataset", dataset):
        given |= {name: value} if value is not None else {}
    for name in "run", "results":
        if name in given:
            raise ConfigError(f"{name}: is no parameter here; give it as --{name}")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with console.status("reading the notebooks"):
        steps = notebooks.settle(notebooks.choose(only), given, profile=profile)
    folder = runs.results_dir(results)
    if run is None:
        model = next((step.given.get("model") for step in steps if step.name == notebooks.TRAINS), None)
        run = runs.new_name(config.make_config(model=model or None), folder)
    console.print(f"{len(steps)} notebook{'' if len(steps) == 1 else 's'} into {folder / run}")
    try:
        done = notebooks.run(steps, run, folder, console)
        page = _report(folder / run)
    except notebooks.NotebookError as error:
        _fail(f"{error}\nTo go on from there, give the same command with --run {run}.", error.status)
    except KeyboardInterrupt:
        _fail(f"stopped. To go on, give the same command with --run {run}.", 130)
    _print_pipeline(done, folder / run, page)


def _report(folder: Path) -> Path:
    from mnist_utils import report

    return report.write(folder)


def _print_pipeline(done: list[Done], folder: Path, page: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mnist_utils import runs

    table = Table(box=SIMPLE_HEAD)
    table.add_column("notebook", no_wrap=True)
    table.add_column("seconds", justify="right")
    for notebook in done:
        table.add_row(notebook.name, f"{notebook.seconds:.1f}{' (before)' if notebook.before else ''}")
    _show_table(table)
    if runs.is_whole(folder):
        _print_result(runs.read(folder, folder.parent))
    else:
        print(f"{'run':19}  {folder}, in which no network was trained")
    print(f"{'report':19}  {page}")


@app.command(cls=_TwoWords)
def sweep(
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
        Path | None, typer.Option("--parameters-file", "-f", help="YAML file of them, name: values; -p wins over it")
    ] = None,
    random: Annotated[
        int | None, typer.Option(help="draw so many settings, each trained from every seed", show_default="all of them")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="processes on this machine, which share its cores", show_default="1")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="a Dask scheduler's address in place of --workers: tls://host:8786", show_default=False),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="how often a point that fails is tried again")] = 1,
    name: Annotated[str | None, typer.Option(help="name of the sweep's folder", show_default="after its parameters")] = None,
    results: _Results = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="show no progress")] = False,
) -> None:
    """Train a network for each combination of values, on this machine or a cluster, and compare them in a report.

    Each point is a run with the training notebook in it. The same command goes on with what is left, whatever stopped it.
    """
    from rich.console import Console

    from mnist_utils import cluster, notebooks, runs
    from mnist_utils import sweep as sweeps

    given = notebooks.read_parameters(parameters_file, as_text=True) if parameters_file else {}
    varied: dict[str, str] = {}
    for one, values in parameter or []:
        if one in varied:
            raise ConfigError(f"{one}: given twice; allowed: once, with all its values: -p {one} A,B")
        varied[one] = values
    given |= varied
    if workers and scheduler:
        raise ConfigError(f"workers: given {workers} beside a scheduler, which has its own; allowed: one of the two options")
    if not given:
        raise ConfigError("nothing to vary: give at least one parameter with its values, as in -p seed 0:5")
    points, note = sweeps.points(given, random=random, data_dir=data_dir)
    folder = sweeps.new_folder(name or sweeps.name_of(points), runs.results_dir(results))
    console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
    if note:
        console.print(f"note: {note}", style="yellow")

    def so_far() -> str:
        return f"{len(points) - len(sweeps.left(folder, points))} of {len(points)} points are done"

    try:
        with runs.alone(folder, folder.name, kind="sweep", option="name"):
            sweeps.begin(folder, given, random, points)
            left = len(sweeps.left(folder, points))
            console.print(f"{len(points)} point{'s' * (len(points) > 1)}, {left} of them to be done, into {folder}")
            if left:
                with console.status("starting the workers"):
                    stack = contextlib.ExitStack()
                    client = stack.enter_context(
                        cluster.remote(scheduler) if scheduler else cluster.local(min(workers or 1, left))
                    )
                with stack:
                    if scheduler and not cluster.has_workers(client):
                        console.print(f"waiting for workers; start some: dask worker {scheduler} --nthreads 1")
                    where = None if scheduler else data_dir and data_dir.absolute()
                    cluster.run(client, points, folder, retries=retries, data_dir=where, progress=not quiet)
            found = sweeps.read(folder, points)
            table = sweeps.write_table(folder, points, found)
            page = _sweep_report(folder, points, found)
    except KeyboardInterrupt:
        _fail(f"stopped: {so_far()}. To go on, give the same command.", 130)
    except sweeps.SweepError as error:
        _fail(f"{error}. {so_far()}; to go on, give the same command.", 1)
    if as_json:
        print(table.reset_index().to_json(orient="records"))
    else:
        _print_sweep(folder, points, found, page)
    if (table["state"] != "done").any():
        raise typer.Exit(1)


def _sweep_report(folder: Path, points: list[Point], found: dict[str, Run]) -> Path:
    from mnist_utils import sweep_report

    return sweep_report.write(folder, points, found)


def _print_sweep(folder: Path, points: list[Point], found: dict[str, Run], page: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mnist_utils import comparison
    from mnist_utils import sweep as sweeps

    if done := sweeps.whole(found):
        trials = comparison.table(done)
        settings, chosen = comparison.settings(trials), comparison.choose(done, trials)
        table = Table(box=SIMPLE_HEAD)
        words = comparison.in_words(settings)
        for column in words.columns:
            numbers = column not in comparison.parameters(trials)
            table.add_column(column.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
        for row in words.head(_MOST_SETTINGS).itertuples(index=False):
            table.add_row(*(str(value) for value in row))
        _show_table(table)
        if len(settings) > _MOST_SETTINGS:
            print(f"and {len(settings) - _MOST_SETTINGS} more: see the report")
        ranked = comparison.ranked(settings)
        luck = "by validation" + (f"; first of {ranked}, so flattered by luck" if ranked > 1 else "")
        luck += f"; {len(settings) - ranked} with fewer seeds not ranked" if ranked < len(settings) else ""
        print(f"{'chosen':19}  {comparison.words(chosen.setting)} ({luck})")
        seeds = f"{len(chosen.runs)} seed{'s' if len(chosen.runs) > 1 else ''}"
        print(f"{'its test accuracy':19}  {comparison.share(chosen.test)}, {seeds} of {trials['data'].iloc[0]}")
    for point in points:
        if (run := found.get(point.key)) and not sweeps.is_done(run):
            print(f"{'failed':19}  {point.key}: {run.incomplete}")
    print(f"{'table':19}  {folder / 'table.csv'}")
    print(f"{'report':19}  {page}")


_MOST_SETTINGS = 20  # on the screen


@app.command()
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(help="pictures of one digit each: files, folders, patterns, - for standard input (or set IMG_PATH)"),
    ] = None,
    model: _Model = None,
    polarity: Annotated[str, typer.Option(help="auto, dark-on-light or light-on-dark")] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="draw how each was read, into NAME.steps.png here")] = False,
    results: _Results = None,
    as_json: _Json = False,
) -> None:
    """Say which digit each picture shows. Exits with 1 where a picture could not be read."""
    from mnist_utils import inference, runs

    if polarity not in ("auto", "dark-on-light", "light-on-dark"):
        raise ConfigError(f"polarity: given {polarity!r}; allowed: auto, dark-on-light, light-on-dark")
    images = images or [name for name in [os.environ.get("IMG_PATH")] if name]
    if not images:
        raise ConfigError("images: none given; name at least one picture, or set IMG_PATH")
    path = runs.model_path(model, runs.results_dir(results))
    network, temperature = inference.load(path), inference.temperature_of(path)
    run = runs.run_of(path)
    drawn: set[Path] | None = set() if explain else None  # the files with their steps
    answers = [
        _answer(picture, network, temperature, polarity, drawn)  # type: ignore[arg-type]
        for image in images
        for picture in _pictures(image)
    ]
    if as_json:
        print(json.dumps(answers))
    else:
        trained = f", trained on {run.config['dataset']['name']}" if run else ", of no run: its confidence is not calibrated"
        _print_answers(answers, f"{path}{trained}")
    if any("error" in answer for answer in answers):
        raise typer.Exit(1)


_STEPS = ".steps.png"


def _pictures(name: str) -> list[str]:
    """Turn a folder or a pattern into the names of its files; any other name stays, to be told of if it is wrong."""
    import glob

    from mnist_utils.images import SUFFIXES

    path = Path(name)
    if path.is_dir():
        files = (file for file in path.iterdir() if not file.name.endswith(_STEPS))  # our own drawings
        inside = sorted(str(file) for file in files if file.suffix.lower() in SUFFIXES)
        return inside or [name]
    return [name] if path.exists() else sorted(glob.glob(name, recursive=True)) or [name]  # noqa: PTH207 - absolute ones too


def _answer(name: str, network: Any, temperature: float, polarity: Polarity, drawn: set[Path] | None) -> dict[str, Any]:
    from mnist_utils import inference
    from mnist_utils.images import ImageError

    picture = sys.stdin.buffer.read() if name == "-" else Path(name)
    try:
        answer = inference.answer(picture, network, temperature=temperature, polarity=polarity)
    except ImageError as error:
        return {"path": name, "error": str(error)}
    reading = answer.reading
    if drawn is not None:
        _explain(name, reading, drawn)
    top = [[digit, inference.as_confidence(probability)] for digit, probability in answer.top()]
    return {
        "path": name,
        "label": top[0][0],
        "probability": round(float(answer.softmax.max()), 4),
        "confidence": top[0][1],
        "top": top,
        "reading": {
            "inverted": reading.inverted,
            "crop": reading.crop,
            "frames": reading.frames,
            "stroke": reading.stroke,
        },
    }


def _explain(name: str, reading: Reading, drawn: set[Path]) -> None:
    from matplotlib.figure import Figure

    from mnist_utils.plots import reading_steps

    stem = Path(name).stem if name != "-" else "stdin"
    path = next(path for n in itertools.count(1) if (path := Path(f"{stem}{f'-{n}' * (n > 1)}{_STEPS}")) not in drawn)
    drawn.add(path)  # another picture of this command may have the same name
    title = f"{name}, read as {'dark on light' if reading.inverted else 'light on dark'}"
    reading_steps(reading, title=title, figure=Figure()).savefig(path, dpi=100)
    print(f"mnist: {name}: the steps are in {path}", file=sys.stderr)


def _print_answers(answers: list[dict[str, Any]], network: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=Text(f"network: {network}"), caption_justify="left", box=SIMPLE_HEAD)
    short = max(len(answer["path"]) for answer in answers) <= 44  # half of a narrow terminal: let the others fold
    for column in "picture", "digit", "confidence", "next", "ink":
        table.add_column(
            column, overflow="fold", no_wrap=column in ("digit", "confidence") or (short and column == "picture")
        )
    for answer in answers:
        if "error" not in answer:
            others = ", ".join(
                f"{digit}\N{NO-BREAK SPACE}{share:.1%}" for digit, share in answer["top"][1:] if share >= 0.001
            )
            seen = "dark" if answer["reading"]["inverted"] else "light"
            table.add_row(Text(answer["path"]), str(answer["label"]), f"{100 * answer['confidence']:.2f}%", others, seen)
    if table.row_count:
        _show_table(table)
    for answer in answers:
        if "error" in answer:
            print(f"mnist: {answer['path']}: {answer['error']}", file=sys.stderr)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="a run's name or folder")],
    robustness: Annotated[
        bool, typer.Option("--robustness", help="change the test images in twenty ways, and ask the network again")
    ] = False,
    results: _Results = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
) -> None:
    """Say how good a run's network is: from its recorded answers, or with [bold]--robustness[/bold] by asking it again.

    With it, the table and a figure are also written into the run's folder; a report that is made later shows the table.
    """
    from dataclasses import asdict

    from mnist_utils import assessment, runs

    found = runs.read(run, runs.results_dir(results))
    if robustness:
        _evaluate_robustness(found, data_dir, as_json)
        return
    rows = asdict(assessment.summary(found))
    if as_json:
        print(json.dumps({"run": found.name} | rows))
        return
    print(f"{runs.describe(found)}; {rows['n']:,} test images, 95 % intervals over them")
    for name, words in _WORDS.items():
        low, high = rows[f"{name}_interval"]
        print(f"{words:34}  {rows[name]:6.2%} ({low:.2%} to {high:.2%})")
    print(f"{'log loss, with the temperature':34}  {rows['log_loss']:.4f} nat")


_WORDS = {
    "accuracy": "accuracy",
    "expected_calibration_error": "expected calibration error",
    "calibrated_error": "... with the run's temperature",
}


def _evaluate_robustness(run: Run, data_dir: Path | None, as_json: bool) -> None:
    from mnist_utils import assessment
    from mnist_utils.progress import shown

    with shown(1) as show:
        found = assessment.robustness(
            run, data_dir=data_dir, done=lambda step, steps: show(step / steps, f"{step} of {steps} kinds of images")
        )
    if as_json:
        print(json.dumps({"run": run.name} | assessment.as_json(found)))
    else:
        _print_robustness(run, found)
    for path in (*assessment.write_robustness(run, found), _report(run.path)):
        print(f"written: {path}", file=sys.stderr)


def _print_robustness(run: Run, found: Robustness) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mnist_utils import runs

    table = Table(box=SIMPLE_HEAD)
    for column, justify in ("images", "left"), ("kind", "left"), ("n", "right"), ("accuracy", "right"), ("95 %", "right"):
        table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("against clean, points", justify="right")
    for row in found.table.reset_index().to_dict("records"):
        noise = "" if row["p_value"] < 0.05 else " (noise)"
        against = "" if math.isnan(row["p_value"]) else f"{100 * row['difference']:+.1f}{noise}"
        between = f"{100 * row['low']:.1f}-{100 * row['high']:.1f}"
        name = row["change"].replace("_", " ")
        table.add_row(name, row["group"], f"{row['n']:,}", f"{row['accuracy']:.1%}", between, against)
    low, high = found.mean_interval
    print(runs.describe(run))
    _show_table(table)
    print(
        f"the fifteen of MNIST-C: {found.mean:.2%} in the mean (95 % interval {low:.2%} to {high:.2%}), "
        f"worst {found.worst.replace('_', ' ')} with {found.worst_accuracy:.1%}"
    )
    print("intervals: over test images; (noise): a difference could not be shown (McNemar's test, 5 %, Holm's correction)")


@app.command("runs")
def list_runs(results: _Results = None, as_json: _Json = False) -> None:
    """List all runs, for each data set the best validation accuracy first."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from mnist_utils import runs

    folder = runs.results_dir(results)
    found = runs.list_runs(folder)
    if as_json:
        print(json.dumps([_row(run) for run in found]))
        return
    if not found:
        print(f"no runs in {folder} yet; make one with: mnist train")
        return
    table = Table(caption=Text(f"{folder}; 95 % intervals over the images"), caption_justify="left", box=SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    table.add_column("network")  # what gives way in a narrow terminal
    for column in "validation", "test", "training":
        table.add_column(column, no_wrap=True)
    for run in found:
        hyper = run.config["config"]
        network = f"{hyper['model']} on {run.config['dataset']['name']}" if hyper else "none yet"
        recipe = f"{_epochs(hyper['epochs'])}, seed {hyper['seed']}" if hyper else ""
        if not run.metrics:
            numbers = "incomplete", "", ""
        else:
            seconds = f"{run.metrics['seconds']['training']:.1f} s"
            numbers = _share(run.metrics["validation"], "\n"), _share(run.metrics["test"], "\n"), seconds
        table.add_row(run.name, f"{network}\n{recipe}", *numbers)
    _show_table(table)
    for run in found:
        if run.incomplete:
            done = run.epochs_done
            how_far = "" if done is None else f" ({done} of {_epochs(run.config['config']['epochs'])} done)"
            print(f"{run.name} is incomplete: {run.incomplete}{how_far}")


def _row(run: Run) -> dict[str, Any]:
    row = {"run": run.name, "path": str(run.path), "incomplete": run.incomplete, "dataset": run.config["dataset"]["name"]}
    accuracies = {part: run.metrics[part]["accuracy"] for part in ("validation", "test") if run.metrics}
    return row | {"config": run.config["config"], "accuracy": accuracies, "epochs_done": run.epochs_done}


def _share(numbers: dict[str, Any], between: str = " ") -> str:
    low, high = numbers["accuracy_interval"]
    return f"{numbers['accuracy']:.2%}{between}({100 * low:.2f}-{100 * high:.2f})"


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="a run's name or folder")],
    b: Annotated[str, typer.Argument(help="another, tested on the same images")],
    results: _Results = None,
    as_json: _Json = False,
) -> None:
    """Say whether run B is really better than run A on the same test images."""
    from dataclasses import asdict

    from mnist_utils import runs

    folder = runs.results_dir(results)
    run_a, run_b = runs.read(a, folder), runs.read(b, folder)
    found = runs.compare(run_a, run_b)
    if as_json:
        print(json.dumps({"a": run_a.name, "b": run_b.name} | asdict(found)))
        return
    low, high = found.difference_interval
    for letter, run in ("A", run_a), ("B", run_b):
        print(
            f"{letter}  {run.name}: {_share(run.metrics['test'])} of {found.n:,} {run.config['dataset']['name']} test images"
        )
    print(f"only A is right on {found.only_a} images, only B on {found.only_b}")
    print(f"B minus A: {100 * found.difference:+.2f} points (95 % interval {100 * low:+.2f} to {100 * high:+.2f})")
    print(f"McNemar's exact test: p = {found.p_value:.2g}")
    if found.p_value >= 0.05:
        print("Verdict: cannot tell them apart on these images.")
    else:
        print(f"Verdict: {'B' if found.difference > 0 else 'A'} is better (5 % level; one comparison, one seed each).")


@app.command()
def show(run: Annotated[str, typer.Argument(help="a run's name or folder")], results: _Results = None) -> None:
    """Open a run's figures in windows, where there is a display."""
    from mnist_utils import runs

    found = runs.read(run, runs.results_dir(results))
    runs.check_trained(found, "figures yet")
    if found.config["dataset"]["note"]:
        print(f"note: {found.config['dataset']['note']}")
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
        figures = runs.draw(found, new_figure=plt.figure)
    shown = figures and all(figure.canvas.required_interactive_framework for figure in figures.values())
    if not shown:
        print(f"no window can be opened: {reason}. The figures are:\n" + "\n".join(files))
        return
    for name, figure in figures.items():
        figure.canvas.manager.set_window_title(f"{found.name}: {name.replace('_', ' ')}")  # type: ignore[union-attr]
    print("close the windows to go on. The same figures are:\n" + "\n".join(files))
    plt.show()


@app.command()
def doctor(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            help="python, packages, cpu, mnist, results, display, matplotlib, lab: exits with 1 where one of those named "
            "is not ok; none: looks at all, and exits with 1 where one is broken",
            show_default=False,
        ),
    ] = None,
    data_dir: _DataDir = None,
    results: _Results = None,
    as_json: _Json = False,
) -> None:
    """Say what is there, what is missing, and what to do about it."""
    import dataclasses

    from mnist_utils import doctor, runs

    if unknown := sorted(set(things or []) - set(doctor.CHECKS)):
        raise ConfigError(f"doctor: given {', '.join(unknown)}; allowed: {', '.join(doctor.CHECKS)}")
    findings = []
    for name in things or doctor.CHECKS:
        findings.append(finding := doctor.examine(name, runs.results_dir(results), data_dir))
        if not as_json:
            print(
                f"{finding.state:8} {name:11} {finding.what}" + f"\n{'':20} -> {finding.mend}" * bool(finding.mend),
                flush=True,
            )
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    if any(finding.state == "broken" or (things and finding.state != "ok") for finding in findings):
        raise typer.Exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0: all, so that others can ask")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 5000,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    model: _Model = None,
    results: _Results = None,
) -> None:
    """Answer over HTTP, with a page to draw a digit on, until Ctrl-C."""
    from mnist_utils import runs, serving

    serving.serve(runs.model_path(model, runs.results_dir(results)), host, port, workers)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="a run's name or folder")],
    kind: Annotated[str, typer.Option("--format", help="saved_model, onnx or litert")] = "saved_model",
    output: Annotated[Path, typer.Option(help="folder of all exported networks")] = Path("exported"),
    name: Annotated[str, typer.Option(help="what clients ask for")] = "mnist",
    version: Annotated[int | None, typer.Option(help="whole number from 1", show_default="the next free one")] = None,
    results: _Results = None,
) -> None:
    """Write a run's network for TF-Serving, Triton or KServe, and compare its answers with Keras's."""
    from mnist_utils import runs
    from mnist_utils.export import TOLERANCE, export

    found = runs.read(run, runs.results_dir(results))
    folder, difference = export(found, kind, output, name=name, version=version)  # type: ignore[arg-type]
    print(f"{folder}: answers as Keras does, to {difference:.0e} (allowed: {TOLERANCE:.0e})")


def main() -> None:
    """Run the command line; turn what a person can mend into a message and a status."""
    try:
        _add_train()
        app()
    except MnistError as error:
        _fail(str(error), error.status)
    except OSError as error:
        if error.errno not in (_FULL | _REFUSED):
            raise
        mend = "Free some space and give the same command." if error.errno in _FULL else "Choose another folder."
        _fail(f"cannot read or write{f' {error.filename}' if error.filename else ''}: {error.strerror}. {mend}", 1)


def _show_table(table: Table) -> None:
    """Print a table as wide as the terminal; into a file or a pipe, wide enough that nothing folds."""
    from rich.console import Console

    screen = Console()
    Console(width=screen.width if screen.is_terminal else 120).print(table)


def _fail(message: str, status: int) -> NoReturn:
    for line in message.splitlines():
        print(f"mnist: {line}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
