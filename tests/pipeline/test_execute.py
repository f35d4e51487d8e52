from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from filelock import FileLock
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from rich.console import Console

from mnist_utils import ConfigError
from mnist_utils.pipeline import execute
from mnist_utils.pipeline import parameters as pipeline_parameters
from mnist_utils.pipeline.parameters import NotebookError
from mnist_utils.runs import find
from mnist_utils.runs.run import RunError
from tests.conftest import Cli
from tests.fake_runs import fake_run, write_run

LOCATION = 'run: str = ""  # run\nresults: str = ""  # folder of all runs\n'


def write(path: Path, parameters: str, *code: str) -> None:
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell(parameters.rstrip("\n"), metadata={"tags": ["parameters"]}),
        *(new_code_cell(source) for source in code),
    ]
    path.parent.mkdir(exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hold three notebooks; each says what it was given."""
    folder = tmp_path / "notebooks"
    write(folder / "01_explore.ipynb", "seed: int = 0  # seed", "print(seed)")
    write(
        folder / "02_train.ipynb",
        LOCATION + "seed: int = 0  # seed\nepochs: int = 2  # passes\nrate: float = 0.1  # step size\n"
        'augment: bool = False  # shift\nmodel: str = "fast"  # network',
        "print(run, seed, epochs, rate, augment, model)",
    )
    write(
        folder / "03_error_analysis.ipynb",
        LOCATION + 'fail: str = ""  # how to fail',
        "import os, sys, time\nfrom pathlib import Path\nprint(repr(run))",
        "if fail == 'error':\n    raise ValueError('as asked\\nand more')\n"
        "from mnist_utils.runs.run import RunError\n"
        "if fail == 'ours':\n    raise RunError('as asked.\\nDo this.')\n"
        "if fail == 'exit':\n    os._exit(3)\n"
        "if fail == 'wait':\n    Path('kernel').write_text(str(os.getpid()))\n    time.sleep(100)",
        "print('end')",
    )
    monkeypatch.setattr(pipeline_parameters, "notebooks_folder", lambda: folder)
    return folder


@pytest.fixture
def quiet() -> Console:
    return Console(file=io.StringIO())


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def printed(path: Path) -> str:
    return "".join(output.get("text", "") for cell in read(path).cells for output in cell.get("outputs", []))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.ipynb")}


# --- choosing, and checking what is given ---


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (None, ["01_explore", "02_train", "03_error_analysis"]),
        ("02,03", ["02_train", "03_error_analysis"]),
        ("error_analysis, 1", ["01_explore", "03_error_analysis"]),
        ("02_train.ipynb", ["02_train"]),
    ],
)
def test_chooses_by_number_or_name_in_order(only: str | None, names: list[str], folder: Path) -> None:
    assert [path.stem for path in pipeline_parameters.select_notebooks(only)] == names
    assert {path.parent for path in pipeline_parameters.select_notebooks(only)} == {folder}


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("04", "given 04; allowed: 01_explore,"),
        ("", "given ''; allowed"),
        ("trian", "given trian; did you mean 02_train? allowed"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_notebook_that_is_none(only: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"only: {said}")):
        pipeline_parameters.select_notebooks(only)


@pytest.mark.usefixtures("folder")
def test_each_notebook_is_given_what_it_has_as_the_type_that_it_states() -> None:
    given = {"seed": "7", "epochs": "3", "rate": "1e-3", "augment": "true", "model": "simple"}
    steps = pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks(), given)
    assert [step.given for step in steps] == [
        {"seed": 7},
        {"seed": 7, "epochs": 3, "rate": 0.001, "augment": True, "model": "simple"},
        {},
    ]
    assert {type(value) for value in steps[1].given.values()} == {int, float, bool, str}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", "three", "epochs: given three; allowed: a whole number"),
        ("epochs", "1.5", "epochs: given 1.5; allowed: a whole number"),
        ("epochs", True, "epochs: given True; allowed: a whole number"),
        ("epochs", [1], "epochs: given [1]; allowed: a whole number"),
        ("epochs", "", "epochs: given ''; allowed: a whole number"),
        ("epochs", None, "epochs: given None; allowed: a whole number"),
        ("epochs", "0", "epochs: given 0; allowed: a whole number from 1 to 10000"),
        ("rate", "nan", "rate: given nan; allowed: a number"),
        ("augment", "perhaps", "augment: given perhaps; allowed: true or false"),
        ("model", 3, "model: given 3; allowed: text"),
        ("model", "fats", "model: given fats; allowed: fast, accurate, simple, branched"),
        ("epohcs", "3", "epohcs: given 3, but no notebook that was chosen has it; did you mean epochs? allowed"),
        ("zzz", "3", "zzz: given 3, but no notebook that was chosen has it; allowed: augment"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_no_notebook_takes(name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks(), {name: value})


@pytest.mark.usefixtures("folder")
def test_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_parameters, "FULL_PROFILE", {"02_train": {"epochs": 10, "seed": 1}})
    paths = pipeline_parameters.select_notebooks("02")
    assert pipeline_parameters.resolve_parameters(paths, {}, profile="quick")[0].given == {}
    assert pipeline_parameters.resolve_parameters(paths, {"seed": "5"}, profile="full")[0].given == {"epochs": 10, "seed": 5}
    with pytest.raises(ConfigError, match="profile: given fast; allowed: quick, full"):
        pipeline_parameters.resolve_parameters(paths, {}, profile="fast")


def test_parameters_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text("epochs: 3\nmodel: fast\n")
    assert pipeline_parameters.read_parameters_file(file) == {"epochs": 3, "model": "fast"}
    file.write_text("")
    assert pipeline_parameters.read_parameters_file(file) == {}
    for text in "- epochs", "a: {", "3: 4":
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"parameters\.yaml"):
            pipeline_parameters.read_parameters_file(file)


# --- executing ---


def test_executes_in_order_into_the_run_and_once_only(folder: Path, tmp_path: Path, quiet: Console) -> None:
    steps = pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks(), {"epochs": 5})
    done = execute.run_notebooks(steps, "one", tmp_path, quiet)
    place = tmp_path / "one" / "notebooks"
    assert [one.name for one in done] == ["01_explore", "02_train", "03_error_analysis"]
    assert [one.before for one in done] == [False] * 3
    assert [printed(path) for path in sorted(place.iterdir())] == ["0\n", "one 0 5 0.1 False fast\n", "''\nend\n"]
    before = stamps(place)
    again = execute.run_notebooks(steps, "one", tmp_path, quiet)
    assert [one.before for one in again] == [True] * 3
    assert [one.seconds for one in again] == [one.seconds for one in done]
    assert stamps(place) == before
    # Another source, or another parameter: that notebook and those after it, which may read what it wrote.
    write(folder / "02_train.ipynb", LOCATION, "print('new')")
    third = execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks(), {}), "one", tmp_path, quiet
    )
    assert [one.before for one in third] == [True, False, False]
    fourth = execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1"), {"seed": 1}),
        "one",
        tmp_path,
        quiet,
    )
    assert [one.before for one in fourth] == [False]
    assert printed(place / "01_explore.ipynb") == "1\n"


@pytest.mark.usefixtures("folder")
def test_the_run_is_read_only_where_it_has_a_network(tmp_path: Path, quiet: Console) -> None:
    steps = pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("3"), {})
    write_run(fake_run("trained", 0.9), tmp_path)
    write_run(fake_run("begun", 0.9, why="training was not finished"), tmp_path)
    for name, given in ("trained", "'trained'"), ("begun", "''"), ("new", "''"):
        execute.run_notebooks(steps, name, tmp_path, quiet)
        assert printed(tmp_path / name / "notebooks" / "03_error_analysis.ipynb") == f"{given}\nend\n"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("error", "code cell 4: ValueError: as asked"),
        ("ours", "code cell 4: RunError: as asked. Do this."),
        ("exit", "code cell 4: the kernel died: it was killed, or the memory was used up"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_failure_stops_and_is_kept_and_gone_on_from(how: str, why: str, tmp_path: Path, quiet: Console) -> None:
    write_run(fake_run("one", 0.9), tmp_path)
    kept = tmp_path / "one" / "notebooks" / "03_error_analysis.ipynb"
    said = f"notebook 03_error_analysis: {why}\nAs far as it came, it is in {kept}"
    for _ in range(2):  # what failed is never taken for done
        with pytest.raises(NotebookError, match=re.escape(said)):
            execute.run_notebooks(
                pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1,3"), {"fail": how}),
                "one",
                tmp_path,
                quiet,
            )
    broken = find.read_run("one", tmp_path)
    assert broken.incomplete == f"notebook 03_error_analysis: {why}"
    assert broken.trained().test.accuracy == 0.9
    assert find.find_model("one", tmp_path) == tmp_path / "one" / "model.tflite"
    code = [cell for cell in read(kept).cells if cell.cell_type == "code"]
    assert [cell.metadata.papermill.status for cell in code] == ["completed", "completed", "completed", "failed", "pending"]
    assert [output.output_type for output in code[3].outputs] == ["error"]
    assert read(kept).metadata.papermill.exception is True
    # Another notebook, done well, does not make it whole; the same command that does not fail does.
    execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1"), {}), "one", tmp_path, quiet
    )
    assert "03_error_analysis" in find.read_run("one", tmp_path).incomplete
    done = execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1,3"), {}), "one", tmp_path, quiet
    )
    assert [one.before for one in done] == [True, False]
    assert find.read_run("one", tmp_path).incomplete == ""


def test_a_run_that_has_failed_notebooks_only_is_listed(folder: Path, tmp_path: Path, mnist: Cli) -> None:
    write(folder / "01_explore.ipynb", "seed: int = 0  # seed", "1 / 0")
    status, out, err = mnist("run", "--run", "one", "--results", str(tmp_path))
    assert (status, out) == (1, "")
    assert err.splitlines()[-3:] == [
        "mnist: notebook 01_explore: code cell 2: ZeroDivisionError: division by zero",
        f"mnist: As far as it came, it is in {tmp_path}/one/notebooks/01_explore.ipynb",
        "mnist: To resume, give the same command with --run one.",
    ]
    _, out, _ = mnist("runs", "--results", str(tmp_path))
    assert "one is incomplete: notebook 01_explore: code cell 2: ZeroDivisionError: division by zero\n" in out
    (row,) = json.loads(mnist("runs", "--json", "--results", str(tmp_path))[1])
    assert (row["run"], row["accuracy"]) == ("one", {})
    with pytest.raises(RunError, match="run one is incomplete"):
        find.find_model("one", tmp_path)


@pytest.mark.usefixtures("folder")
def test_one_process_at_a_time(tmp_path: Path, quiet: Console, mnist: Cli) -> None:
    place = tmp_path / "busy"
    place.mkdir()
    steps = pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1"), {})
    with FileLock(place / ".lock"):  # of another `mnist run`, or a training
        with pytest.raises(RunError, match="another process is using run busy"):
            execute.run_notebooks(steps, "busy", tmp_path, quiet)
        status, _, err = mnist("train", "--dataset", "digits", "--run", "busy", "--results", str(tmp_path), "--quiet")
    assert (status, err.count("\n"), "--run" in err) == (1, 1, True)
    assert {path.name for path in place.rglob("*")} <= {".lock"}


def test_a_kernel_of_the_home_folder_does_not_win_and_figures_are_drawn(
    folder: Path, tmp_path: Path, quiet: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in Path.home() / ".local", tmp_path / "elsewhere":
        kernel = place / "share" / "jupyter" / "kernels" / "python3"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "wrong", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "elsewhere" / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    write(folder / "01_explore.ipynb", "", "import os, sys; print(sys.prefix, os.environ['MPLBACKEND'])")
    execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1"), {}), "one", tmp_path, quiet
    )
    inline = "module://matplotlib_inline.backend_inline"
    assert printed(tmp_path / "one" / "notebooks" / "01_explore.ipynb").split() == [sys.prefix, inline]
    assert os.environ["MPLBACKEND"] == "TkAgg"


@pytest.fixture
def waiting(folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start `mnist run`; give it and the process of its kernel while a cell of the last notebook waits."""
    code = (
        "import signal, sys\nfrom pathlib import Path\nfrom mnist_utils.cli import main\n"
        # A shell's background job, and all that it starts, ignores Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mnist_utils.pipeline import parameters\n"
        "place = Path(sys.argv.pop()); parameters.notebooks_folder = lambda: place; main.main()"
    )
    command = "run", "--only", "1,3", "-p", "fail", "wait", "--run", "one", "--results", str(tmp_path), str(folder)
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(600):
            if (tmp_path / "kernel").exists() and (text := (tmp_path / "kernel").read_text()):
                break
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        yield process, int(text)
    finally:
        process.kill()
        process.communicate()


def gone(pid: int) -> bool:
    for _ in range(300):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_at_any_moment_it_leaves_no_kernel_and_goes_on(
    number: signal.Signals, waiting: tuple[subprocess.Popen[str], int], tmp_path: Path, quiet: Console
) -> None:
    process, kernel = waiting
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert gone(kernel)
    place = tmp_path / "one" / "notebooks"
    if number == signal.SIGINT:
        assert (process.returncode, out) == (130, "")
        assert err.endswith("\nmnist: stopped. To resume, give the same command with --run one.\n")
        assert find.read_run("one", tmp_path).incomplete == "notebook 03_error_analysis: code cell 4: stopped by Ctrl-C"
        assert printed(place / "03_error_analysis.ipynb") == "''\n"
    else:
        assert find.read_run("one", tmp_path).incomplete == "notebook 03_error_analysis was not finished"
        assert set(stamps(place)) == {"01_explore.ipynb"}
    done = execute.run_notebooks(
        pipeline_parameters.resolve_parameters(pipeline_parameters.select_notebooks("1,3"), {}), "one", tmp_path, quiet
    )
    assert [one.before for one in done] == [True, False]
    assert find.list_runs(tmp_path) == []  # whole, and without a network: nothing to list


# --- the command ---


def test_the_command_trains_into_the_run_and_ends_with_its_numbers_and_its_report(
    folder: Path, tmp_path: Path, mnist: Cli
) -> None:
    write(
        folder / "02_train.ipynb",
        LOCATION + 'dataset: str = "auto"  # data set\nepochs: int = 1  # passes',
        "from mnist_utils.runs.record import record_run\nfrom mnist_utils.runs.find import results_dir\n"
        "from mnist_utils.training.fit import load_training_data\nfrom mnist_utils.training.config import make_config\n"
        "config, data = load_training_data(make_config(dataset=dataset, epochs=epochs, train_limit=200))",
        "made = record_run(config, data, run, results_dir(results), progress=False)",
    )
    file = tmp_path / "parameters.yaml"
    file.write_text(yaml.safe_dump({"epochs": 7, "seed": 3}))
    arguments = "run", "-p", "epochs", "2", "-f", str(file), "--dataset", "digits", "--results", str(tmp_path / "results")
    status, out, err = mnist(*arguments)
    assert status == 0, err
    (made,) = find.list_runs(tmp_path / "results")
    assert re.fullmatch(r"\d{8}-\d{6}-fast", made.name)
    assert (made.incomplete, made.config.epochs, made.dataset_name) == ("", 2, "digits")
    assert printed(made.path / "notebooks" / "01_explore.ipynb") == "3\n"
    assert printed(made.path / "notebooks" / "03_error_analysis.ipynb") == f"{made.name!r}\nend\n"
    assert [line.split()[0] for line in err.splitlines()[1:]] == ["01_explore", "02_train", "03_error_analysis"]
    for line in (
        r"  02_train +\d+\.\d ",
        r"test accuracy +\d+\.\d\d% .* on 360 images of digits",
        r"report +/.*/report\.html",
    ):
        assert re.search(f"^{line}", out, re.MULTILINE), out
    assert (made.path / "report.html").is_file()
    before = stamps(made.path / "notebooks")
    status, _, err = mnist(*arguments, "--run", made.name, "-p", "epochs", "5")
    assert status == 1
    assert f"run {made.name} was started with epochs 2, now 5. Choose another name (--run), or delete" in err
    assert "go on from there" not in err
    assert stamps(made.path / "notebooks") == before  # nothing of it was touched
    assert (made.path / "report.html").is_file()
    assert not find.read_run(made.name, tmp_path / "results").incomplete


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-p", "epoch", "3"), "epoch: given 3, but no notebook that was chosen has it; did you mean epochs?"),
        (("-p", "epochs", "three"), "epochs: given three; allowed: a whole number"),
        (("-p", "run", "x"), "run: is no parameter here; give it as --run"),
        (("--only", "9"), "only: given 9; allowed: 01_explore"),
        (("--profile", "slow"), "profile: given slow; allowed: quick, full"),
        (("--run", "a/b"), "run: given 'a/b'; allowed"),
        (("--dataset", "digits"), "dataset: given digits, but no notebook that was chosen has it"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_nothing_is_executed_for_what_is_mistyped(arguments: tuple[str, ...], said: str, tmp_path: Path, mnist: Cli) -> None:
    status, out, err = mnist("run", *arguments, "--results", str(tmp_path / "results"))
    assert (status, out) == (2, "")
    assert f"mnist: {said}" in err
    assert not (tmp_path / "results").exists()
