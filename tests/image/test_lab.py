"""Lab in the container, in a real browser, as a person uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import chromium
from tests.image.conftest import NAME, UID, Workbench, end, new_clone, whole_runs
from tests.lab import choose_dark_theme, delete, new_notebook, run_all, run_cell, save, terminal
from tests.paths import CLONE

pytestmark = pytest.mark.image


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def open_page(browser: Browser, address: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=2)
    page.goto(address)
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    return page


def test_a_browser_runs_the_training_notebook_and_sees_its_figures(
    browser: Browser, lab: str, workbench: Workbench, small_training: Path
) -> None:
    before = set(whole_runs(workbench))
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    panel = run_all(page, lab, "notebooks/02_train.ipynb", seconds=240)
    pictures = panel.locator(".jp-RenderedImage img")
    sizes = pictures.evaluate_all("all => all.map(img => [img.naturalWidth, img.naturalHeight, img.width])")
    save(page, "notebooks/02_train.ipynb")
    assert len(sizes) >= 2, sizes  # the curves, the confusion matrix
    assert all(width > 300 and height > 200 for width, height, _ in sizes), sizes
    assert all(width / shown > 1.9 for width, _, shown in sizes), sizes  # sharp on a screen of twice the pixels
    (run,) = set(whole_runs(workbench)) - before
    expect(panel.locator(".jp-OutputArea-output", has_text=f"run {run}").first).to_be_visible()
    folder = workbench.path / "results" / run
    assert {path.name for path in folder.glob("figures/*.png")} >= {"confusion_matrix.png", "training_curves.png"}
    assert {path.stat().st_uid for path in folder.rglob("*")} == {UID}
    saved = nbformat.read(small_training, 4)
    assert small_training.stat().st_uid == UID
    assert all(cell.execution_count for cell in saved.cells if cell.cell_type == "code")
    assert not [out for cell in saved.cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    # The originals are as they were.
    original = CLONE / "notebooks" / "02_train.ipynb"
    assert (workbench.path / "notebooks" / "02_train.ipynb").read_bytes() == original.read_bytes()


OWN = """\
import os
import tensorflow as tf
from mnist_utils.runs.find import results_dir
from mnist_utils.runs.record import record_run
from mnist_utils.training.config import make_config
from mnist_utils.training.fit import load_training_data
import matplotlib.pyplot as plt
config, data = load_training_data(make_config(dataset="digits", epochs=1))
run = record_run(config, data, "own-{}".format(os.path.basename(os.getcwd())), results_dir(), progress=False)
plt.plot([1, 2]); plt.show()
print("path:", run.path)
"""


def test_the_start_page_then_ones_own_notebook_wherever_lab_lets_one_be_made(
    browser: Browser, lab: str, workbench: Workbench
) -> None:
    page = open_page(browser, lab)
    start = page.locator(".jp-MarkdownViewer:visible")
    expect(start.get_by_role("link", name="02_train")).to_be_visible(timeout=30_000)
    for folder in "", "notebooks":
        new_notebook(page, lab, folder)
        output = run_cell(page, OWN, seconds=120)
        expect(output.locator("img")).to_have_count(1)
        name = f"own-{folder or 'work'}"
        expect(output).to_contain_text(f"path: {workbench.path / 'results' / name}")
        assert output.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0  # TensorFlow says nothing
        assert name in whole_runs(workbench)
        made = workbench.path / "work" / folder / "Untitled.ipynb"
        save(page, f"{folder}/Untitled.ipynb".lstrip("/"), keep_name=True)
        assert "own-{}" in made.read_text()
        assert made.stat().st_uid == UID
    # A picture that can be moved and zoomed, and a slider.
    new_notebook(page, lab, "")
    code = "%matplotlib widget\nimport ipywidgets, matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n"
    output = run_cell(page, f"{code}ipywidgets.IntSlider()", seconds=60)
    expect(output.locator(".jupyter-matplotlib-canvas-container, .jupyter-matplotlib").first).to_be_visible()
    expect(output.locator(".widget-slider").first).to_be_visible()


def test_a_terminal_trains_and_remembers_and_a_restart_keeps_all(browser: Browser, tmp_path: Path) -> None:
    clone = new_clone(tmp_path / "clone", LAB_PORT="18896")
    try:
        done = clone.launcher()
        assert done.returncode == 0, done.stderr
        page = open_page(browser, done.stdout.splitlines()[0])
        said = clone.path / "work" / "said"
        assert terminal(page, "echo $SHELL $USER; pwd", said) == [f"/bin/bash {NAME}", str(clone.path / "work")]
        line = "mnist train --dataset digits --epochs 1 --run shell --quiet && papermill --version"
        lines = terminal(page, line, said, seconds=120)
        assert whole_runs(clone)["shell"]["test"]["accuracy"] > 0.5, lines  # type: ignore[index]
        choose_dark_theme(page)
        assert clone.launcher("stop").returncode == 0
        again = clone.launcher()
        address = again.stdout.splitlines()[0]
        assert address != done.stdout.splitlines()[0]
        page.goto(address.partition("?")[0] + "lab")  # without the token: the browser is known
        page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
        expect(page.locator("body[data-jp-theme-light=false]")).to_have_count(1, timeout=30_000)
        assert "mnist train --dataset digits" in "\n".join(terminal(page, "history", said))
        assert (clone.path / "work" / "results" / "shell" / "metrics.json").exists()
    finally:
        end(clone)


def test_what_is_deleted_is_gone_and_the_original_comes_back(browser: Browser, lab: str, workbench: Workbench) -> None:
    page = open_page(browser, lab)
    mine = workbench.path / "work" / "notebooks" / "09_predict_and_serve.ipynb"
    original = mine.read_bytes()
    mine.write_text("{}")
    assert workbench.launcher().returncode == 0
    assert mine.read_text() == "{}"  # a person's own is theirs
    delete(page, lab, "notebooks/09_predict_and_serve.ipynb")
    assert not mine.exists()
    assert not list(workbench.path.rglob(".Trash*"))
    assert workbench.launcher().returncode == 0
    assert mine.read_bytes() == original
    folder = workbench.path / "work" / "full"
    folder.mkdir()
    (folder / "file").touch()
    for path in folder, folder / "file":
        os.chown(path, UID, UID)
    delete(page, lab, "full")
    assert not folder.exists()
