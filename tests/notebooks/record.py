"""Record the copies of the notebooks that nbval executes again: on the embedded digits, offline, with small parameters.

make notebooks-record                # all
make notebooks-record ARGS=02,03     # these
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml

from mnist_utils._support import files
from mnist_utils.pipeline import execute
from mnist_utils.pipeline.parameters import resolve_parameters, select_notebooks
from tests.conftest import isolation

PLACE = Path(__file__).parent


def parameters() -> dict[str, dict[str, Any]]:
    """Read what each notebook is recorded with."""
    content: dict[str, dict[str, Any]] = yaml.safe_load((PLACE / "parameters.yaml").read_text(encoding="utf-8"))
    return content


def record(path: Path, given: dict[str, Any], place: Path) -> Path:
    """Execute a notebook with parameters, from the folder that nbval will execute it in, and write it into `place`."""
    (step,) = resolve_parameters([path], given)
    with execute.use_this_environment():
        notebook = papermill.execute_notebook(
            str(path),
            None,
            step.given,
            progress_bar=False,
            kernel_name="python3",
            cwd=place,
            extra_arguments=["--log-level=CRITICAL"],
        )
    del notebook.metadata["papermill"]  # times, and paths of this machine
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        del cell.metadata["papermill"]
        if "injected-parameters" in cell.metadata["tags"]:
            cell["id"] = "injected-parameters"  # else another one each time
        if not cell.metadata["tags"]:
            del cell.metadata["tags"]  # papermill puts an empty one into each cell
    files.write_text_atomic(place / path.name, nbformat.writes(notebook) + "\n")
    return place / path.name


def main() -> None:
    """Record all notebooks, or those that the command names."""
    for path in select_notebooks(sys.argv[1] if len(sys.argv) > 1 else None):
        with tempfile.TemporaryDirectory() as home:  # for each its own: none may find the run that another made
            for name, value in isolation(Path(home)).items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            start = time.perf_counter()
            copy = record(path, parameters()[path.stem], PLACE)
        print(f"{copy.name}  {time.perf_counter() - start:.0f} s, {copy.stat().st_size / 1024:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
