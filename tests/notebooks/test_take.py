from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from tests.notebooks.take import take


def write(path: Path, *cells: nbformat.NotebookNode) -> Path:
    nbformat.write(v4.new_notebook(cells=list(cells)), path)
    return path


def executed(source: str, count: int | None, *outputs: nbformat.NotebookNode, tag: str = "") -> nbformat.NotebookNode:
    cell = v4.new_code_cell(source, execution_count=count, outputs=list(outputs))
    cell.metadata = {"tags": [tag], "papermill": {"duration": 3.1}} if tag else {"papermill": {"duration": 1.2}}
    return cell


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return write(tmp_path / "original.ipynb", v4.new_markdown_cell("# T"), v4.new_code_cell("a = 1"), v4.new_code_cell("a"))


def test_outputs_are_taken_as_if_the_parameters_were_the_notebook_s_own(original: Path, tmp_path: Path) -> None:
    result = v4.new_output("execute_result", {"text/plain": "1"}, execution_count=3)
    copy = write(
        tmp_path / "copy.ipynb",
        v4.new_markdown_cell("# T"),
        executed("a = 1", 1),
        executed("run = 'x'", 2, tag="injected-parameters"),
        executed("a", 3, result),
    )
    found = nbformat.reads(take(copy, original), as_version=4)
    assert [cell.source for cell in found.cells] == ["# T", "a = 1", "a"]
    assert [cell.execution_count for cell in found.cells[1:]] == [1, 2]
    assert found.cells[2].outputs[0].execution_count == 2
    assert "papermill" not in str(found)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (executed("a", None), "was not executed, or failed"),
        (executed("a", 2, v4.new_output("error", ename="E", evalue="", traceback=[])), "was not executed, or failed"),
        (executed("b", 2), "was made of other sources"),
    ],
)
def test_what_is_not_whole_is_refused(cell: nbformat.NotebookNode, told: str, original: Path, tmp_path: Path) -> None:
    copy = write(tmp_path / "copy.ipynb", v4.new_markdown_cell("# T"), executed("a = 1", 1), cell)
    with pytest.raises(SystemExit, match=told):
        take(copy, original)
