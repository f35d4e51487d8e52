"""Drive JupyterLab in a browser as a person does: open a notebook, Run All, wait, look."""

from __future__ import annotations

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


def save(page: Page, notebook: str) -> None:
    """Save the notebook by the menu, and wait until the server has it."""
    with page.expect_response(lambda answer: answer.request.method == "PUT" and f"/api/contents/{notebook}" in answer.url):
        page.get_by_role("menuitem", name="File", exact=True).click()
        page.locator('.lm-Menu-item[data-command="docmanager:save"]').click()
