"""Lab in the container, in a real browser."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.chromium import chromium
from tests.image.conftest import UID, Workbench, whole_runs
from tests.lab import run_all, save

pytestmark = pytest.mark.image


def test_a_browser_runs_the_training_notebook_and_sees_its_figures(
    lab: str, workbench: Workbench, small_training: Path, tmp_path: Path
) -> None:
    before = set(whole_runs(workbench))
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        panel = run_all(page, lab, "notebooks/02_train.ipynb", seconds=240)
        pictures = panel.locator(".jp-RenderedImage img")
        sizes = pictures.evaluate_all("all => all.map(img => [img.naturalWidth, img.naturalHeight])")
        save(page, "notebooks/02_train.ipynb")
        pictures.last.scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / "lab.png")
    assert len(sizes) >= 2, sizes  # the curves, the confusion matrix
    assert all(width > 300 and height > 200 for width, height in sizes), sizes
    (run,) = set(whole_runs(workbench)) - before
    folder = workbench.path / "results" / run
    assert {path.name for path in folder.glob("figures/*.png")} >= {"confusion_matrix.png", "training_curves.png"}
    assert {path.stat().st_uid for path in folder.rglob("*")} == {UID}
    saved = nbformat.read(small_training, 4)
    assert small_training.stat().st_uid == UID
    assert all(cell.execution_count for cell in saved.cells if cell.cell_type == "code")
    assert not [out for cell in saved.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
