"""All notebooks run complete on data of one's own: three classes of pictures, and 47 in EMNIST's form."""

from __future__ import annotations

from pathlib import Path

import papermill
import pytest

from mnist_utils.data.datasets import load_dataset
from mnist_utils.pipeline.parameters import TRAINING_NOTEBOOK
from mnist_utils.runs.record import record_run
from mnist_utils.training.config import make_config
from tests.data.test_own import write_emnist, write_shapes
from tests.notebooks import record, under_nbval
from tests.paths import CLONE

pytestmark = pytest.mark.notebooks
NOTEBOOKS = sorted((CLONE / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a data set, and train two runs on it."""
    folder = tmp_path_factory.mktemp("own")
    data = write_shapes(folder / "data", 60) if request.param == 3 else write_emnist(folder / "data", 30)
    for seed in 0, 1:
        config = make_config(dataset=str(data), epochs=4, batch_size=32, seed=seed)
        made = record_run(config, load_dataset(str(data)), f"own-{seed}", folder / "results", progress=False)
        assert len(made.classes) == request.param
    return folder


@pytest.mark.parametrize("own", [3, 47], indirect=True)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_other_classes(path: Path, own: Path) -> None:
    """Let nbval execute all cells; on data that nobody recorded, there is no output to compare."""
    known, given = papermill.inspect_notebook(str(path)), record.parameters()[path.stem]
    run = "new" if path.stem == TRAINING_NOTEBOOK else "own-0"
    given |= {"dataset": str(own / "data"), "run": run, "results": str(own / "results"), "which": "own-*"}
    prepared = own / path.name
    papermill.execute_notebook(
        str(path), str(prepared), {name: given[name] for name in given if name in known}, prepare_only=True
    )
    done = under_nbval.execute(prepared, compare=False)
    assert done.returncode == 0, done.stdout + done.stderr
