"""The notebooks: as committed, explained, and giving again what their recorded copies hold."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest

import mnist_utils
from mnist_utils.pipeline import parameters
from mnist_utils.runs.find import read_run
from tests.notebooks import record, under_nbval
from tests.paths import CLONE
from tests.pipeline.test_execute import write

COMMITTED = sorted((CLONE / "notebooks").glob("*.ipynb"))
RECORDED = sorted(record.PLACE.glob("*.ipynb"))
NAMES = [path.stem for path in COMMITTED]
EVERY_COMMITTED = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
EVERY_RECORDED = pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
NBVAL_IGNORES = {"nbval-ignore-output", "nbval-skip"}
# Cells whose text nbval compares: a change may add to them, but not take away.
COMPARED = {
    "01_explore": 17,
    "02_train": 9,
    "03_your_own_network": 6,
    "04_ablations": 9,
    "05_compare_runs": 4,
    "06_error_analysis": 14,
    "07_inverted_colours": 5,
    "08_robustness": 8,
    "09_predict_and_serve": 8,
}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def all_outputs(notebook: Any) -> list[Any]:
    return [output for cell in code(notebook) for output in cell.outputs]


def table_rows(html: str) -> list[list[str]]:
    """Read the cells of all tables' rows."""
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    return [[cell.strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def authored(notebook: Any) -> list[tuple[str, str, set[str]]]:
    """List what an author wrote: all cells but the one that papermill put in."""
    return [(cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells if "injected-parameters" not in tags(cell)]


def is_text(output: Any) -> bool:
    """Whether there is more to compare than "<Figure size 900x400 with 1 Axes>"."""
    data = output.get("data", {})
    told = "".join(output.get("text", "") or data.get("text/plain", ""))
    return "text/markdown" in data or not told.startswith(("<Figure", "<IPython"))


def texts(notebook: Any) -> str:
    """Everything of a notebook that is text: a picture's letters may spell anything."""
    pictures = "image/png", "image/jpeg"
    outputs = all_outputs(notebook)
    data = [
        {kind: content for kind, content in output.get("data", {}).items() if kind not in pictures} for output in outputs
    ]
    rest = [{key: value for key, value in output.items() if key != "data"} for output in outputs]
    sources = [cell.source for cell in notebook.cells]
    return json.dumps([sources, data, rest, notebook.metadata, [cell.metadata for cell in notebook.cells]])


# --- as committed ---


def test_all_are_recorded_and_in_the_tables() -> None:
    assert NAMES[:2] == ["01_explore", "02_train"]
    assert [path.stem for path in RECORDED] == NAMES
    assert list(record.parameters()) == NAMES
    for page in "README.md", "notebooks/README.md":
        assert re.findall(r"^\| \W*(\d\d_\w+)", (CLONE / page).read_text(encoding="utf-8"), re.MULTILINE) == NAMES


@EVERY_COMMITTED
def test_a_committed_notebook_was_executed_in_order_without_an_error(path: Path) -> None:
    notebook = read(path)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert not [output for cell in code(notebook) for output in cell.outputs if output.output_type == "error"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert "papermill" not in notebook.metadata
    assert not [cell for cell in notebook.cells if "injected-parameters" in tags(cell)]
    assert path.stat().st_size < 1.5e6


@pytest.mark.parametrize("path", [*COMMITTED, *RECORDED], ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_no_notebook_names_a_machine_s_folders(path: Path) -> None:
    found = texts(read(path))
    homes = {str(Path.home()), os.path.expanduser("~" + os.environ.get("USER", "")), str(CLONE)} - {"/"}  # noqa: PTH111
    assert not re.findall(r"/(?:home|root|Users|tmp|work|mnt|opt|var/folders)/\S*|[A-Z]:\\\\\S*", found)
    assert not [home for home in homes if home in found]


@EVERY_COMMITTED
def test_every_parameter_is_typed_and_explained(path: Path) -> None:
    (cell,) = [cell for cell in code(read(path)) if "parameters" in tags(cell)]
    stated = papermill.inspect_notebook(str(path))
    assigned = [line for line in ast.parse(cell.source).body if isinstance(line, ast.AnnAssign)]
    assert len(assigned) == len(ast.parse(cell.source).body)
    assert list(stated) == [line.target.id for line in assigned if isinstance(line.target, ast.Name)]
    for parameter in stated.values():
        assert parameter["inferred_type_name"] in ("int", "float", "str", "bool"), parameter
        assert parameter["help"].strip(), parameter
        assert type(ast.literal_eval(parameter["default"])).__name__ == parameter["inferred_type_name"]


def test_the_profile_full_names_parameters_that_there_are() -> None:
    paths = {path.stem: path for path in COMMITTED}
    for name, given in parameters.FULL_PROFILE.items():
        if name in paths:
            assert given.keys() <= papermill.inspect_notebook(str(paths[name])).keys()
            parameters.resolve_parameters([paths[name]], {}, profile="full")
    assert parameters.FULL_PROFILE.keys() <= set(NAMES)


def test_the_committed_outputs_are_of_one_run_and_of_the_committed_reference() -> None:
    notebooks = {path.stem: read(path) for path in COMMITTED}
    printed = {
        name: "\n".join(
            "".join(output.get("text", "") or output.get("data", {}).get("text/html", ""))
            for output in all_outputs(notebook)
        )
        for name, notebook in notebooks.items()
    }
    (trained,) = re.findall(r"^run (\S+)$", printed["02_train"], re.MULTILINE)
    described = {name: set(re.findall(r"run (\S+) \(\w+, trained on", text)) for name, text in printed.items()}
    assert {name: runs for name, runs in described.items() if not runs <= {trained}} == {}
    assert described["09_predict_and_serve"] == {trained}
    runs = {one: cells for one, *cells in table_rows(printed["02_train"]) if one in ("reference", f"{trained} (this one)")}
    assert len(runs) == 2
    reference = read_run("reference", CLONE / "results").trained()
    assert f"{reference.validated().accuracy:.2%}" in runs["reference"]
    assert f"{reference.seconds['training']:.0f}" in runs["reference"]


@EVERY_COMMITTED
def test_a_cell_has_one_job(path: Path) -> None:
    """Of 12 lines at most, 5 in the median; imports and parameters are lists, and not counted."""
    lengths = {}
    for cell in code(read(path)):
        if "parameters" not in tags(cell):
            imports = [one for one in ast.parse(cell.source).body if isinstance(one, ast.Import | ast.ImportFrom)]
            counted = sum((one.end_lineno or 0) - one.lineno + 1 for one in imports)
            lengths[cell.id] = len([line for line in cell.source.splitlines() if line.strip()]) - counted
    assert {name: lines for name, lines in lengths.items() if lines > 12} == {}
    assert np.median(list(lengths.values())) <= 5


@EVERY_COMMITTED
def test_it_begins_with_its_contents_and_ends_with_exercises(path: Path) -> None:
    texts_ = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    headings = [line.lstrip("#").strip() for text in texts_ for line in text.splitlines() if re.match("#{1,4} ", line)]
    anchors = {heading.replace(" ", "-") for heading in headings}
    linked = re.findall(r"\]\(#(.*?)\)(?=[\s,.:;?]|$)", texts_[0])
    assert len(linked) >= 4
    assert set(linked) <= anchors
    assert "Exercises" in linked[-1]
    last = texts_[-1].split("Exercises\n")[-1]
    assert 2 <= len(re.findall(r"^\d\. ", last, re.MULTILINE)) <= 3


# --- under papermill alone ---


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "notebooks" / "02_train.ipynb"
    write(path, "epochs: int = 2  # passes over the training set\nbatch_size: int = 256  # images a step", "print(epochs)")
    return path


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
    )


def test_papermill_alone_takes_parameters_from_any_folder(tiny: Path, tmp_path: Path) -> None:
    done = run("papermill", str(tiny), "out.ipynb", "-p", "epochs", "3", "-p", "batch_size", "64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert code(read(tmp_path / "out.ipynb"))[-1].outputs[0].text == "3\n"


@EVERY_COMMITTED
def test_papermill_explains_the_parameters(path: Path, tmp_path: Path) -> None:
    done = run("papermill", "--help-notebook", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    for parameter in papermill.inspect_notebook(str(path)).values():
        stated = f"{parameter['name']}: {parameter['inferred_type_name']} (default {parameter['default']})"
        assert f"{stated} {' '.join(parameter['help'].split())}" in words


def test_papermill_explains_a_tiny_one(tiny: Path, tmp_path: Path) -> None:
    test_papermill_explains_the_parameters(tiny, tmp_path)


# --- the recorded copies ---


@EVERY_RECORDED
def test_a_copy_is_its_notebook(path: Path) -> None:
    assert authored(read(path)) == authored(read(CLONE / "notebooks" / path.name))
    (injected,) = [cell for cell in code(read(path)) if "injected-parameters" in tags(cell)]
    given = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(injected.source).body}
    assert given == record.parameters()[path.stem]
    assert given.get("dataset", "digits") == "digits"  # 05 has no such parameter, and reads runs of digits


@EVERY_RECORDED
def test_a_copy_holds_something_to_compare(path: Path) -> None:
    """See that every cell was executed, without an error, and has an output wherever the original has one."""
    copy = [cell for cell in code(read(path)) if "injected-parameters" not in tags(cell)]
    original = code(read(CLONE / "notebooks" / path.name))
    assert [cell.source for cell in copy if cell.execution_count is None] == []
    assert [output for cell in copy for output in cell.outputs if output.output_type == "error"] == []
    for cell, wanted in zip(copy, original, strict=True):
        only_sometimes = cell.source.startswith("if ")  # as what is known of MNIST alone
        assert cell.outputs or not wanted.outputs or tags(cell) & NBVAL_IGNORES or only_sometimes, cell.source
    compared = [cell for cell in copy if not tags(cell) & NBVAL_IGNORES and any(map(is_text, cell.outputs))]
    assert len(compared) >= COMPARED[path.stem]


def nbval(path: Path, tmp_path_factory: pytest.TempPathFactory, package: Path = CLONE) -> subprocess.CompletedProcess[str]:
    shared = tmp_path_factory.getbasetemp().parent / "matplotlib"  # its list of fonts takes seconds to make
    return under_nbval.execute(path, package=package, MPLCONFIGDIR=str(shared))


# Those that take longest are executed by .ci/run, with the other tests of notebooks.
LONG = {"04_ablations", "06_error_analysis", "07_inverted_colours", "08_robustness"}
BY_LENGTH = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.notebooks] if path.stem in LONG else []) for path in RECORDED
]


@pytest.mark.parametrize("path", BY_LENGTH)
def test_a_notebook_gives_again_what_was_recorded(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = nbval(path, tmp_path_factory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_number_is_noticed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Break a helper on purpose, in a copy of the package: nbval fails. The test above passes with the helper as it is."""
    broken = shutil.copytree(Path(mnist_utils.__file__).parent, tmp_path / "package" / "mnist_utils")
    with (broken / "data" / "datasets.py").open("a") as file:
        file.write(
            "\n_whole = load_dataset\n\n\ndef load_dataset(*args, **kwargs):\n    from dataclasses import replace\n\n"
            "    found = _whole(*args, **kwargs)\n"
            "    return replace(found, x_train=found.x_train[1:], y_train=found.y_train[1:])\n"
        )
    notebook = read(record.PLACE / "01_explore.ipynb")
    notebook.cells = notebook.cells[:10]  # as far as the first numbers
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, path := tmp_path / "notebooks" / "01_explore.ipynb")
    failed = nbval(path, tmp_path_factory, broken.parent)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "Cell outputs differ" in failed.stdout
