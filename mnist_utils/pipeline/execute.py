"""The ordered notebooks: execute all or some of them with other parameters into a run's folder; resume."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils._support import files
from mnist_utils.pipeline.parameters import TRAINING_NOTEBOOK, NotebookError, NotebookStep, default_value
from mnist_utils.runs.find import is_trained, read_run
from mnist_utils.runs.folder import (
    LOCKED_FOLDER,
    mark_complete,
    mark_incomplete,
    new_run_folder,
    remove_leftovers,
    run_lock,
)
from mnist_utils.runs.record import check_same_config
from mnist_utils.runs.run import NOTEBOOKS

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from rich.console import Console
    from rich.progress import Progress

_LOCATIONS = ("results",)  # parameters that say where the run lies, not what is computed
_OURS = ("ConfigError", "DataError", "DataNotFoundError", "RunError")  # whose further lines say what to do


@dataclass(frozen=True)
class StepResult:
    """A notebook that was executed to its end: its name, its seconds, and whether an earlier command did it."""

    name: str
    seconds: float
    before: bool


# --- executing --------------------------------------------------------------------------------------------


def run_notebooks(steps: list[NotebookStep], name: str, results: Path, console: Console) -> list[StepResult]:
    """Execute notebooks into ``results/name/notebooks``, from the first that is not done.

    Done is what was executed to its end from the same source with the same parameters. Until the last is done, the
    run is marked incomplete; a second command with its name resumes it.

    Parameters
    ----------
    steps : list of Step
        From `settle`.
    name : str
        The run's; `TRAINING_NOTEBOOK` trains a model into it, and the others read that model. Where there is none, they
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
        If the name cannot be a folder's, another process uses the run, or it was started with other settings than
        these; nothing of it is touched.
    """
    results = results.resolve()
    folder = new_run_folder(name, results)
    _check_training(steps, folder)
    with run_lock(folder, name):
        remove_leftovers(folder)
        (folder / NOTEBOOKS).mkdir(exist_ok=True)
        done: list[StepResult] = []
        with _progress(console) as bar:
            for step in steps:
                parameters = step.given | _of_the_run(step, folder)
                executed = folder / NOTEBOOKS / step.path.name
                before = all(one.before for one in done) and _is_executed(step, parameters, executed)
                if not before:
                    (folder / "report.html").unlink(missing_ok=True)  # it would no longer be true
                    mark_incomplete(folder, "notebooks", f"notebook {step.name} was not finished")
                    _execute(step, parameters, executed, bar)
                done.append(StepResult(step.name, _seconds(executed), before))
                if before or not console.is_terminal:
                    console.print(f"{step.name}  {'was complete' if before else f'{done[-1].seconds:.1f} s'}")
        _mark_complete(folder)
    return done


def _check_training(steps: list[NotebookStep], folder: Path) -> None:
    """Refuse to train into a run that was started with other settings: the notebook would only fail in the middle."""
    from papermill import inspect_notebook

    from mnist_utils.training.config import TrainConfig, given_fields, make_config

    trains = [step for step in steps if step.name == TRAINING_NOTEBOOK]
    if not trains or not (folder / "config.json").is_file():
        return
    existing = read_run(folder, folder.parent)
    defaults = {name: default_value(parameter) for name, parameter in inspect_notebook(str(trains[0].path)).items()}
    config = make_config(**given_fields(dict.fromkeys(TrainConfig.model_fields, "") | defaults | trains[0].given))
    if config.dataset == "auto":  # which it stands for is found out when it is loaded
        config = config.for_dataset(existing.dataset_name, 1)
    elif "epochs" not in config.model_fields_set:  # so does how often few images of one's own are passed over
        config = config.model_copy(update={"epochs": existing.config.epochs})
    wanted = {name: value for name, value in config.model_dump().items() if name in trains[0].allowed}
    check_same_config(existing, wanted)


def _of_the_run(step: NotebookStep, folder: Path) -> dict[str, Any]:
    """Say which run a notebook trains or reads."""
    own = step.name == TRAINING_NOTEBOOK or is_trained(folder)
    found = {"results": str(folder.parent), "run": folder.name if own else ""}
    return {name: value for name, value in found.items() if name in step.allowed}


def _is_executed(step: NotebookStep, parameters: dict[str, Any], executed: Path) -> bool:
    if not executed.is_file():
        return False
    notebook = _read_notebook(executed)
    facts = notebook.metadata.get("papermill", {})
    return (
        facts.get("exception") is False  # ours: papermill itself writes no False there
        and _hyper_parameters(facts["parameters"]) == _hyper_parameters(parameters)
        and _sources(notebook) == _sources(_read_notebook(step.path))
    )


def _hyper_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _LOCATIONS}


def _sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """List the cells that the author wrote."""
    added = "injected-parameters"
    return [(cell.cell_type, cell.source) for cell in notebook.cells if added not in cell.metadata.get("tags", [])]


def _read_notebook(path: Path) -> NotebookNode:
    import nbformat

    return nbformat.read(path, as_version=4)


def _seconds(executed: Path) -> float:
    return float(_read_notebook(executed).metadata.papermill.duration)


def _mark_complete(folder: Path) -> None:
    """Take the mark away, unless it is of a notebook that this command left out."""
    for path in sorted((folder / NOTEBOOKS).glob("*.ipynb")):
        if _read_notebook(path).metadata.get("papermill", {}).get("exception") is not False:
            mark_incomplete(folder, "notebooks", f"notebook {path.stem} was not finished")
            return
    mark_complete(folder, "notebooks")


def _execute(step: NotebookStep, parameters: dict[str, Any], executed: Path, bar: Progress) -> None:
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    task = bar.add_task(step.name, total=None)
    started: list[NotebookNode] = []

    def start(notebook: NotebookNode) -> None:
        started.append(notebook)
        bar.update(task, total=len(_code(notebook)))

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # we report a failure in one line
    why = "was not finished"
    try:
        with use_this_environment(**{LOCKED_FOLDER: str(executed.parents[1].resolve())}):
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
        lines = error.evalue.splitlines()
        why = f"{error.ename}: {' '.join(lines if error.ename in _OURS else lines[:1])}".rstrip(": ")
    except DeadKernelError:
        why = "the kernel died: it was killed, or the memory was used up"
    except KeyboardInterrupt:
        why = "stopped by Ctrl-C"
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would report the cell that nobody waits for now
        raise
    except RuntimeError as error:  # jupyter_client's, where the kernel did not start
        if started:
            raise
        why = f"the kernel did not start: {error}"
    finally:
        if started:
            why = _failure_text(started[0], step, why)
            files.write_text_atomic(executed, _output_text(started[0]))
        if why:
            mark_incomplete(executed.parents[1], "notebooks", f"notebook {step.name}: {why}")
    if why:
        kept = f"\nAs far as it came, it is in {executed}" if started else ""
        raise NotebookError(f"notebook {step.name}: {why}{kept}")


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _output_text(notebook: NotebookNode) -> str:
    import nbformat

    return nbformat.writes(notebook)


def _failure_text(notebook: NotebookNode, step: NotebookStep, why: str) -> str:
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
def use_this_environment(**variables: str) -> Iterator[None]:
    """Let the kernel `python3` be this very Python, its figures be drawn into the notebook; set `variables` for it."""
    kept = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "MPLBACKEND", *variables)}
    os.environ.update(variables)
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
