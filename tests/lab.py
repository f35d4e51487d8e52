"""Drive JupyterLab in a browser as a person does: open a notebook, Run All, wait, look."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, expect


def run_all(page: Page, address: str, notebook: str, *, seconds: float) -> Locator:
    """Open a notebook of a Lab at `address` (with its token), run all its cells, and wait for the last; return its panel.

    Fails at the first cell that does.
    """
    parts = urlsplit(address)
    base = f"{parts.scheme}://{parts.netloc}"
    # Else only the cells that are on the screen are in the page, and a failed one above it would not be seen.
    setting = f"{base}/lab/api/settings/@jupyterlab/notebook-extension:tracker"
    token = {"Authorization": f"token {parts.query.removeprefix('token=')}"}
    answer = page.request.put(setting, data={"raw": '{"windowingMode": "none"}'}, headers=token)
    assert answer.ok, answer.status
    page.goto(f"{base}/lab/tree/{notebook}?{parts.query}&reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    panel = page.locator(".jp-NotebookPanel:visible")
    expect(panel).to_have_count(1, timeout=30_000)
    # The notebook's own indicator says idle before there is a kernel, too.
    idle = page.locator(".jp-StatusBar-TextItem", has_text="| Idle")
    expect(idle).to_be_visible(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    waiting = panel.locator(".jp-CodeCell .jp-InputPrompt", has_text="[*]")
    expect(waiting.last).to_be_visible(timeout=30_000)
    error = panel.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    waited = 0.0
    while waiting.count():
        assert error.count() == 0, error.first.inner_text()
        assert waited < seconds, f"{notebook} ran for more than {seconds:g} s"
        page.wait_for_timeout(500)
        waited += 0.5
    expect(idle).to_be_visible(timeout=10_000)
    assert error.count() == 0, error.first.inner_text()
    return panel


def save(page: Page, notebook: str, *, keep_name: bool = False) -> None:
    """Save the notebook by the menu, and wait until the server has it; a new one is asked for a name, and may keep it."""
    with page.expect_response(lambda answer: answer.request.method == "PUT" and f"/api/contents/{notebook}" in answer.url):
        page.get_by_role("menuitem", name="File", exact=True).click()
        page.locator('.lm-Menu-item[data-command="docmanager:save"]').click()
        if keep_name:
            page.locator(".jp-Dialog-button.jp-mod-accept").click()


def choose_dark_theme(page: Page) -> None:
    """Choose it by the menu, and wait until the server has the setting."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "themes" in answer.url):
        page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()


def new_notebook(page: Page, address: str, folder: str) -> None:
    """Go to a folder in the file browser, and click on Python 3 in a new Launcher."""
    parts = urlsplit(address)
    page.goto(f"{parts.scheme}://{parts.netloc}/lab{f'/tree/{folder}' if folder else ''}?{parts.query}&reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    expect(page.locator(".jp-BreadCrumbs")).to_contain_text(folder, timeout=30_000)
    page.get_by_role("button", name="New Launcher").first.click()
    page.locator('.jp-LauncherCard[data-category="Notebook"]:visible').first.click()
    expect(page.locator(".jp-StatusBar-TextItem", has_text="| Idle")).to_be_visible(timeout=60_000)


def run_cell(page: Page, code: str, *, seconds: float) -> Locator:
    """Type code into the cell that is active, run it, and wait for its end; return its outputs."""
    cell = page.locator(".jp-NotebookPanel:visible .jp-CodeCell").last
    cell.locator(".cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]"))).to_be_visible(timeout=seconds * 1000)
    error = cell.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    assert error.count() == 0, error.first.inner_text()
    return cell.locator(".jp-Cell-outputArea")


def terminal(page: Page, line: str, said: Path, *, seconds: float = 20) -> list[str]:
    """Type a line into a new terminal and return the lines that it printed, by way of the file `said` in Lab's folder."""
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.locator(".lm-Menu-item", has_text="New").first.hover()
    with page.expect_websocket():
        page.locator('.lm-Menu-item[data-command="terminal:create-new"]').click()
    screen = page.locator(".jp-Terminal:visible")
    expect(screen.locator(".xterm-screen")).to_be_visible()
    screen.locator(".xterm-helper-textarea").focus()
    page.keyboard.type(f"{{ {line}; }} >writing 2>&1; mv writing {said.name}\n")
    waited = 0.0
    while not said.exists():
        assert waited < seconds, f"the terminal did not end {line!r} within {seconds:g} s"
        page.wait_for_timeout(200)
        waited += 0.2
    lines = said.read_text().splitlines()
    said.unlink()
    return lines


def delete(page: Page, address: str, path: str) -> None:
    """Delete a file or a folder in the file browser, by its menu, and say yes."""
    parts = urlsplit(address)
    folder, _, name = path.rpartition("/")
    page.goto(f"{parts.scheme}://{parts.netloc}/lab{f'/tree/{folder}' if folder else ''}?{parts.query}&reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    item = page.locator(".jp-DirListing-item", has_text=name).first
    item.click(button="right")
    page.locator('.lm-Menu-item[data-command="filebrowser:delete"]').click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        page.locator(".jp-Dialog-button.jp-mod-warn").click()
    assert deleted.value.ok, deleted.value.status
