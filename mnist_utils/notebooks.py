"""The ordered notebooks: executed with other parameters into a run's folder, all or those chosen, and gone on with."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils import ConfigError, MnistError, atomic, runs

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from rich.console import Console
    from rich.progress import Progress

# What the profile `full` changes; the notebooks' own defaults are the profile `quick`.
FULL: dict[str, dict[str, Any]] = {
    "02_train": {"epochs": 10},
    "05_ablations": {"repeats": 5, "ablation_images": 10_000, "ablation_epochs": 5},
}
TRAINS = "02_train"  # trains into the run; the others read it, or are without a run
_LOCATIONS = ("results",)  # parameters that say where the run lies, not what is computed
_TYPES: dict[str, tuple[type, str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "str": (str, "text"),
    "bool": (bool, "true or false"),
}


class NotebookError(MnistError):
    """A notebook that did not come to its end."""


@dataclass(frozen=True)
class Step:
    """One notebook of a pipeline.

    Attributes
    ----------
    path : Path
        The notebook as its author left it.
    allowed : frozenset of str
        Names of its parameters.
    given : dict
        The parameters that differ from its own defaults, each of the type that it states.
    """

    path: Path
    allowed: frozenset[str]
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The notebook's name, which begins with its number."""
        return self.path.stem


@dataclass(frozen=True)
class Done:
    """A notebook that was executed to its end: its name, its seconds, and whether an earlier command did it."""

    name: str
    seconds: float
    before: bool


# --- choosing, and checking what is given -----------------------------------------------------------------


def folder() -> Path:
    """Return the clone's folder of notebooks.

    Raises
    ------
    NotebookError
        If the package does not lie in a clone.
    """
    found = Path(__file__).parent.parent / runs.NOTEBOOKS
    if not found.is_dir():
        raise NotebookError(f"there is no folder {found}: the notebooks come with the clone; run the command from one")
    return found


def choose(only: str | None = None) -> list[Path]:
    """List the notebooks in the order of their names.

    Parameters
    ----------
    only : str, optional
        Numbers or names, with commas between: ``"02,03"``, ``"2,error_analysis"``. Default: all.

    Raises
    ------
    ConfigError
        Names each word that is no notebook, and those that are.
    """
    paths = sorted(folder().glob("[0-9]*_*.ipynb"))
    if only is None:
        return paths
    names: dict[str, Path] = {}
    for path in paths:
        number, _, rest = path.stem.partition("_")
        names |= dict.fromkeys((path.stem, number, number.lstrip("0"), rest), path)
    words = [word.strip().removesuffix(".ipynb") for word in only.split(",")]
    for word in words:
        if word not in names:
            near = difflib.get_close_matches(word, names, n=1)
            hint = f"; did you mean {names[near[0]].stem}?" if near else ";"
            raise ConfigError(f"only: given {word or repr('')}{hint} allowed: {', '.join(path.stem for path in paths)}")
    return [path for path in paths if path in {names[word] for word in words}]


def settle(paths: list[Path], given: dict[str, Any], *, profile: str = "quick") -> list[Step]:
    """Give each notebook those of the parameters that it has, checked.

    Parameters
    ----------
    paths : list of Path
        The notebooks, in order.
    given : dict
        Parameters by name; text is read as the type that the notebook states for it.
    profile : str
        ``quick``: the notebooks' own defaults; ``full``: with those of `FULL`. `given` wins over both.

    Raises
    ------
    ConfigError
        Names each parameter that no notebook has or whose value is of another type or out of its range, what was
        given and what is allowed.
    """
    from papermill import inspect_notebook

    if profile not in ("quick", "full"):
        raise ConfigError(f"profile: given {profile}; allowed: quick, full")
    known = {path: inspect_notebook(str(path)) for path in paths}
    names = sorted({name for parameters in known.values() for name in parameters})
    problems = []
    for name, value in given.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            problems.append(
                f"{name}: given {value}, but no notebook that was chosen has it; {hint}allowed: {', '.join(names)}"
            )
    steps = []
    for path, parameters in known.items():
        wanted = FULL.get(path.stem, {}) if profile == "full" else {}
        wanted = wanted | {name: value for name, value in given.items() if name in parameters}
        parsed = {}
        for name, value in wanted.items():
            try:
                parsed[name] = _parse(value, parameters[name])
            except ConfigError as error:
                problems.append(str(error))
        defaults = {name: _default(parameters[name]) for name in parsed}
        problems += _out_of_range({name: value for name, value in parsed.items() if value != defaults[name]})
        steps.append(Step(path, frozenset(parameters), parsed))
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return steps


def _parse(value: Any, parameter: dict[str, str]) -> Any:
    """Read a value as the type that the notebook states for its parameter."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    name, stated = parameter["name"], parameter["inferred_type_name"]
    if stated not in _TYPES:
        raise ConfigError(f"{name}: its notebook states the type {stated}; known are {', '.join(_TYPES)}")
    wanted, words = _TYPES[stated]
    try:
        if isinstance(value, bool) and wanted is not bool:  # pydantic would take True for 1
            raise ValueError
        return TypeAdapter(wanted, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except (ValidationError, ValueError):
        raise ConfigError(f"{name}: given {value if value != '' else repr('')}; allowed: {words}") from None


def _default(parameter: dict[str, str]) -> Any:
    import ast

    with contextlib.suppress(ValueError, SyntaxError):  # something to compute
        return ast.literal_eval(parameter["default"])
    return None


def _out_of_range(given: dict[str, Any]) -> list[str]:
    """Say which values `TrainConfig` would refuse: better now than after the notebooks before the training."""
    from mnist_utils.config import TrainConfig, make_config

    # A yes or no is no field of TrainConfig, so such a parameter only shares the name; empty text is "choose for me".
    fields = {
        name: value
        for name, value in given.items()
        if name in TrainConfig.model_fields and value != "" and not isinstance(value, bool)
    }
    try:
        make_config(**fields)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def read_parameters(path: Path, *, as_text: bool = False) -> dict[str, Any]:
    """Read parameters from a YAML file, ``name: value`` on each line, as papermill does.

    Parameters
    ----------
    path : Path
    as_text : bool
        Leave each value, and each of a list, as the text that it is: YAML takes 1:5 for a number to the base of 60.

    Raises
    ------
    ConfigError
        If it holds something else.
    OSError
        If it cannot be read.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader if as_text else yaml.SafeLoader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigError(f"{path}: allowed: lines of the form name: value")
    return content


# --- executing --------------------------------------------------------------------------------------------


def run(steps: list[Step], name: str, results: Path, console: Console) -> list[Done]:
    """Execute notebooks into ``results/name/notebooks``, from the first that is not done.

    Done is what was executed to its end from the same source with the same parameters. Until the last is done, the
    run is marked incomplete; a second command with its name goes on from there.

    Parameters
    ----------
    steps : list of Step
        From `settle`.
    name : str
        The run's; `TRAINS` trains a network into it, and the others read that network. Where there is none, they
        choose for themselves.
    results : Path
        Folder of all runs.
    console : rich.console.Console
        Where the progress is shown: on a terminal as it goes, else a line for each notebook.

    Raises
    ------
    NotebookError
        If a cell failed or the kernel died. The notebook is kept as far as it came.
    ConfigError, RunError
        If the name cannot be a folder's, another process works on the run, or it was begun with other settings than
        these; nothing of it is touched.
    """
    results = results.resolve()
    place = runs.new_folder(name, results) / runs.NOTEBOOKS
    _check_training(steps, place.parent)
    place.mkdir(exist_ok=True)
    with runs.alone(place, name):
        with runs.alone(place.parent, name):
            pass  # else a training that began before would end as an error of the notebook that trains
        for leftover in place.glob(".writing-*"):  # of a process that was killed: nobody else works here now
            leftover.unlink()
        done: list[Done] = []
        with _progress(console) as bar:
            for step in steps:
                parameters = step.given | _of_the_run(step, place.parent)
                executed = place / step.path.name
                before = all(one.before for one in done) and _is_done(step, parameters, executed)
                if not before:
                    (place.parent / "report.html").unlink(missing_ok=True)  # it would no longer be true
                    runs.mark(place, f"notebook {step.name} was not finished")
                    _execute(step, parameters, executed, bar)
                done.append(Done(step.name, _seconds(executed), before))
                if before or not console.is_terminal:
                    console.print(f"{step.name}  {'was done before' if before else f'{done[-1].seconds:.1f} s'}")
        _unmark(place)
    return done


def _check_training(steps: list[Step], folder: Path) -> None:
    """Refuse to train into a run that was begun with other settings: the notebook would only find out in the middle."""
    from papermill import inspect_notebook

    from mnist_utils.config import TrainConfig, from_parameters, make_config

    trains = [step for step in steps if step.name == TRAINS]
    if not trains or not (folder / "config.json").is_file():
        return
    begun = runs.read(folder, folder.parent)
    defaults = {name: _default(parameter) for name, parameter in inspect_notebook(str(trains[0].path)).items()}
    given = from_parameters(dict.fromkeys(TrainConfig.model_fields, "") | defaults | trains[0].given)
    if given["dataset"] in (None, "auto"):  # which it stands for is found out when it is loaded
        given["dataset"] = begun.config["dataset"]["name"]
    settled = make_config(**given).model_dump()
    runs.check_begun_with(begun, {name: value for name, value in settled.items() if name in trains[0].allowed})


def _of_the_run(step: Step, place: Path) -> dict[str, Any]:
    """Say which run a notebook trains or reads."""
    own = step.name == TRAINS or runs.is_whole(place)
    found = {"results": str(place.parent), "run": place.name if own else ""}
    return {name: value for name, value in found.items() if name in step.allowed}


def _is_done(step: Step, parameters: dict[str, Any], executed: Path) -> bool:
    if not executed.is_file():
        return False
    notebook = _read(executed)
    facts = notebook.metadata.get("papermill", {})
    return (
        facts.get("exception") is False  # ours: papermill itself writes no False there
        and _settings(facts["parameters"]) == _settings(parameters)
        and _sources(notebook) == _sources(_read(step.path))
    )


def _settings(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _LOCATIONS}


def _sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """List the cells that the author wrote."""
    added = "injected-parameters"
    return [(cell.cell_type, cell.source) for cell in notebook.cells if added not in cell.metadata.get("tags", [])]


def _read(path: Path) -> NotebookNode:
    import nbformat

    return nbformat.read(path, as_version=4)


def _seconds(executed: Path) -> float:
    return float(_read(executed).metadata.papermill.duration)


def _unmark(place: Path) -> None:
    """Take the mark away, unless it is of a notebook that this command left out."""
    for path in sorted(place.glob("*.ipynb")):
        if _read(path).metadata.get("papermill", {}).get("exception") is not False:
            runs.mark(place, f"notebook {path.stem} was not finished")
            return
    (place / "incomplete").unlink(missing_ok=True)


def _execute(step: Step, parameters: dict[str, Any], executed: Path, bar: Progress) -> None:
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    task = bar.add_task(step.name, total=None)
    begun: list[NotebookNode] = []

    def start(notebook: NotebookNode) -> None:
        begun.append(notebook)
        bar.update(task, total=len(_code(notebook)))

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what fails is told by us, in a line
    why = "was not finished"
    try:
        with kernels_of_this_environment():
            # Nothing is written while it runs: papermill would write in place, and a kill would leave half a notebook.
            execute_notebook(
                str(step.path).replace("{", "{{").replace("}", "}}"),
                None,
                parameters,
                progress_bar=False,
                start_timeout=180,
                kernel_name="python3",
                extra_arguments=["--log-level=CRITICAL"],  # on our stderr; what a cell prints is not touched
                on_notebook_start=start,
                on_cell_executed=lambda **_: bar.advance(task),
            )
        why = ""
    except PapermillExecutionError as error:
        why = f"{error.ename}: {next(iter(error.evalue.splitlines()), '')}".rstrip(": ")
    except DeadKernelError:
        why = "the kernel died: it was killed, or the memory was used up"
    except KeyboardInterrupt:
        why = "stopped by Ctrl-C"
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would tell of the cell that nobody waits for now
        raise
    except RuntimeError as error:  # jupyter_client's, where the kernel never answered
        if begun:
            raise
        why = f"the kernel did not start: {error}"
    finally:
        if begun:
            why = _state(begun[0], step, why)
            atomic.write_text(executed, _text(begun[0]))
        if why:
            runs.mark(executed.parent, f"notebook {step.name}: {why}")
    if why:
        kept = f"\nAs far as it came, it is in {executed}" if begun else ""
        raise NotebookError(f"notebook {step.name}: {why}{kept}")


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _text(notebook: NotebookNode) -> str:
    import nbformat

    return nbformat.writes(notebook)


def _state(notebook: NotebookNode, step: Step, why: str) -> str:
    """State in papermill's metadata what became of a notebook; return why it stopped, and in which cell.

    Papermill takes a cell that killed the kernel, and all after it, for completed.
    """
    from nbformat.v4 import new_output

    names = {"input_path": step.path.name, "output_path": step.path.name}  # not where they lie on this machine
    notebook.metadata.papermill.update(names, exception=bool(why))
    started = [cell for cell in _code(notebook) if cell.metadata.papermill.get("start_time")]
    if not why or not started:
        return why
    for cell in notebook.cells:
        if cell.metadata.get("papermill", {}).get("start_time", "") is None:
            cell.metadata.papermill["status"] = "pending"
    last = started[-1]
    last.metadata.papermill.update(status="failed", exception=True)
    if not any(output.output_type == "error" for output in last.outputs):
        last.outputs.append(new_output("error", ename="Stopped", evalue=why, traceback=[why]))
    return f"code cell {_code(notebook).index(last) + 1}: {why}"


@contextlib.contextmanager
def kernels_of_this_environment() -> Iterator[None]:
    """Let the kernel `python3` be this very Python, and its figures be drawn into the notebook."""
    kept = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "MPLBACKEND")}
    # A kernel that a person registered in the home folder would win where the environment is another user's.
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        [str(Path(sys.prefix, "share", "jupyter")), *filter(None, [kept["JUPYTER_PATH"]])]
    )
    os.environ.pop("MPLBACKEND", None)  # one that opens windows would leave the notebook without figures
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _progress(console: Console) -> Progress:
    """Make the bars of a terminal, one for each notebook; elsewhere they are not drawn."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
