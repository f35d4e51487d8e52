"""Take the notebooks that one whole `mnist run` executed into notebooks/, where they are read.

mnist run --run example
python -m tests.notebooks.take results/example
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

from mnist_utils._support import files
from tests.paths import CLONE


def take(executed: Path, original: Path) -> str:
    """Return a notebook's text with the outputs of an executed copy, as if its cells had been run in order.

    Raises
    ------
    SystemExit
        If the copy is of other sources, or stopped before its end.
    """
    notebook, copy = (nbformat.read(path, as_version=4) for path in (original, executed))
    cells = [cell for cell in copy.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in cells] != [cell.source for cell in notebook.cells]:
        raise SystemExit(f"{executed} was made of other sources than {original}")
    count = 0
    for cell, done in zip(notebook.cells, cells, strict=True):
        if cell.cell_type != "code":
            continue
        if done.execution_count is None or any(output.output_type == "error" for output in done.outputs):
            raise SystemExit(f"{executed}: cell {cell.id} was not executed, or failed")
        count += 1
        cell.execution_count, cell.outputs = count, done.outputs
        for output in cell.outputs:
            if output.get("execution_count") is not None:
                output.execution_count = count
        cell.metadata.pop("execution", None)
    text: str = nbformat.writes(notebook)
    return text + "\n"


def main() -> None:
    """Take all notebooks of a run."""
    folder = Path(sys.argv[1]) / "notebooks"
    texts = {path: take(folder / path.name, path) for path in sorted((CLONE / "notebooks").glob("*.ipynb"))}
    for path, text in texts.items():  # only when all of them are whole
        files.write_text_atomic(path, text)
        print(f"{path.name}  {len(text) / 1024:.0f} kB")


if __name__ == "__main__":
    main()
