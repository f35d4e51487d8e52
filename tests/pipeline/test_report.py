from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from mnist_utils.pipeline import report
from mnist_utils.runs.folder import mark_incomplete
from mnist_utils.runs.run import RunError, RunMetrics
from mnist_utils.training.config import make_config
from tests.fake_runs import fake_metrics
from tests.paths import CLONE

NASTY = "<script>alert(1)</script><img src=https://example.com/x.png onerror=alert(2)>"


def png(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return base64.encodebytes(buffer.getvalue()).decode()  # in lines, as a notebook holds it


def notebook(*cells: Any, stopped: bool = False) -> Any:
    return new_notebook(cells=list(cells), metadata={"papermill": {"duration": 75.2, "exception": stopped}})


def figure(*pictures: str, tag: bool = True, **metadata: Any) -> Any:
    outputs = [new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"}) for picture in pictures]
    return new_code_cell("draw()", outputs=outputs, metadata={"tags": ["report"] if tag else [], **metadata})


CARD = f"""# Model card of run one

## What it is

- A thing. {NASTY}

## How good it is

| {" | ".join(f"column {n}" for n in range(12))} |
|{"---|" * 12}
|{" 99.99 to 99.99 % |" * 12}

### Corrupted images

Everything about fog.

## Limits

    {"mnist train -f config.json --run again " * 4}
"""


class Page(HTMLParser):
    """A page's elements with their attributes, and its text outside style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.within = "", ""
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.within = tag

    def handle_data(self, data: str) -> None:
        self.words += "" if self.within == "style" else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold a trained run with two executed notebooks, one of which stopped."""
    folder = tmp_path / "one"
    (folder / "notebooks").mkdir(parents=True)
    dataset = {"name": "digits", "sha256": "3c89dea4" * 8, "note": f"not <b>MNIST</b> {NASTY}"}
    content = {"config": make_config(seed=7).model_dump(), "dataset": dataset, "versions": {"keras": "3.15.1"}}
    (folder / "config.json").write_text(json.dumps(content))
    numbers = replace(fake_metrics(0.98765, 1440), accuracy_interval=(0.97, 0.9912))
    metrics = RunMetrics(numbers, replace(numbers, accuracy=0.5), {"training": 12.34})
    (folder / "metrics.json").write_text(json.dumps(asdict(metrics)))
    first = notebook(
        new_markdown_cell("# What is *there*?\n\nWhy."),
        new_code_cell("print('hidden & quoted')", outputs=[new_output("stream", name="stdout", text=NASTY)]),
        new_code_cell(
            "1", outputs=[new_output("display_data", {"text/html": f"<table><tr><td>5</td></tr></table>{NASTY}"})]
        ),
        new_markdown_cell("## The `digits`\n\nText.\n\n```sh\n# no heading\nls\n```\n"),
        figure(png(300, 200), png(900, 200)),
        figure(png(10, 10), tag=False),
    )
    second = notebook(new_markdown_cell("# Second"), figure(png(200, 200), alt="Ten curves that fall"), stopped=True)
    for name, content_ in ("01_explore", first), ("02_train", second):
        nbformat.write(content_, folder / "notebooks" / f"{name}.ipynb")
    (folder / "MODEL_CARD.md").write_text(CARD)
    return folder


def test_the_numbers_are_the_run_s(folder: Path) -> None:
    page = Page(report.write_report(folder))
    words = " ".join(page.words.split())
    assert "Validation accuracy 98.77 % 95 % interval 97.00 to 99.12 %, 1,440 images of digits" in words
    assert "Test accuracy 50.00 %" in words
    assert "Model fast on digits, seed 7, 1 epoch" in words
    assert "Time 12.3 s" in words
    assert "keras3.15.1" in words
    assert "batch size128" in words
    assert "01_explore What is there? 1 min 15 s".replace(" ", "") in words.replace(" ", "")
    assert "Second(stoppedbeforeitsend)" in words.replace(" ", "")


def test_the_figures_are_those_of_the_tagged_cells_with_words(folder: Path) -> None:
    page = Page(report.write_report(folder))
    images = page.all("img")
    sizes = [
        Image.open(io.BytesIO(base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")))).size
        for image in images
    ]
    assert sizes == [(200, 200), (300, 200), (900, 200)]
    assert images[0]["alt"] == "Ten curves that fall"
    assert images[1]["alt"] == "Figure of the section “The digits” in notebook 01_explore"
    assert [attributes["class"] for attributes in page.all("figure")] == ["card lone", "card lone", "card whole-row"]
    links = [attributes["href"] for attributes in page.all("a")]
    assert set(links) == {"notebooks/01_explore.html", "notebooks/02_train.html", "MODEL_CARD.md"}


def headings(page: Page) -> list[str]:
    """Return the headings of the second level and the figures' captions, in their order."""
    found = re.findall(r"<h2>(.*?)</h2>|<figcaption>(.*?)<", page.text)
    return [heading.strip() or caption.strip() for heading, caption in found]


def test_it_begins_with_the_results_and_ends_with_the_data(folder: Path) -> None:
    by_notebook = {
        "01_explore": ["A map of all digits"],
        "02_train": ["Training and validation curves", "Which digits are confused?"],
        "03_own": ["Is it better?"],
        "06_error_analysis": [
            "Which digits are confused?", "The worst errors", "How near is a flip?",
            "Does the model know when it may be incorrect?", "The test set, opened once",
        ],
        "09_serve": ["A number"],
    }  # fmt: skip
    for name, sections in by_notebook.items():
        pairs = [(new_markdown_cell(f"## {text}"), figure(png(1, 1 + place))) for place, text in enumerate(sections)]
        cells = [cell for pair in pairs for cell in pair]
        nbformat.write(notebook(*cells), folder / "notebooks" / f"{name}.ipynb")
    results = ["Which digits are confused?", "Training and validation curves", "The worst errors"]
    results += ["Does the model know when it may be incorrect?", "The test set, opened once"]
    others = ["Which digits are confused?", "How near is a flip?", "Is it better?", "A number"]
    page = Page(report.write_report(folder))
    expected = ["Results", *results, "More figures", *others, "Model card", "Notebooks", "Configuration"]
    assert headings(page) == [*expected, "The data", "A map of all digits"]
    assert page.words.index("Test accuracy") < page.words.index("Results")
    results_part = page.text.partition("<h2>Results</h2>")[2].partition("<h2>")[0]
    assert re.findall(r'from <a href="notebooks/(.*?).html">', results_part) == ["02_train"] * 2 + ["06_error_analysis"] * 3


def test_what_it_begins_with_is_in_the_notebooks() -> None:
    pages = {path.stem: nbformat.read(path, 4) for path in (CLONE / "notebooks").glob("*.ipynb")}
    for name, words, _ in report.RESULTS:
        tagged = [heading for cell, heading in report._sections(pages[name]) if report.TAG in cell.metadata.get("tags", [])]
        assert [heading for heading in tagged if words in heading.lower()], words


def test_without_notebooks_it_begins_with_the_run_s_own_figures(folder: Path) -> None:
    for path in (folder / "notebooks").iterdir():
        path.unlink()
    (folder / "figures").mkdir()
    for name, size in ("confusion_matrix", (300, 100)), ("training_curves", (200, 200)):
        (folder / "figures" / f"{name}.png").write_bytes(base64.b64decode(png(*size)))
    page = Page(report.write_report(folder))
    assert headings(page) == ["Results", "Confusion matrix", "Training curves", "Model card", "Configuration"]
    assert [image["alt"] for image in page.all("img")] == [
        f"{name} of run one (fast, trained on digits, seed 7)" for name in ("confusion matrix", "training curves")
    ]
    assert [attributes["class"] for attributes in page.all("figure")] == ["card whole-row", "card lone"]


def test_an_odd_narrow_figure_has_a_row_of_its_own(folder: Path) -> None:
    cells = figure(png(10, 10), png(11, 10), png(40, 10), png(12, 10))
    nbformat.write(notebook(new_markdown_cell("# Three"), cells), folder / "notebooks" / "01_explore.ipynb")
    (folder / "notebooks" / "02_train.ipynb").unlink()
    page = Page(report.write_report(folder))
    assert [attributes["class"] for attributes in page.all("figure")] == ["card", "card", "card whole-row", "card lone"]
    cells = figure(png(10, 10), png(40, 10), png(12, 10))
    nbformat.write(notebook(new_markdown_cell("# Two"), cells), folder / "notebooks" / "01_explore.ipynb")
    page = Page(report.write_report(folder))
    assert [attributes["class"] for attributes in page.all("figure")] == ["card", "card whole-row", "card"]


def test_the_model_card_is_shown_and_linked(folder: Path) -> None:
    page = Page(report.write_report(folder))
    card = page.text.partition("<h2>Model card</h2>")[2].partition("<h2>")[0]
    assert 'href="MODEL_CARD.md"' in card
    assert re.findall(r"<h(\d)>(.*?)</h", card) == [("3", "What it is"), ("3", "How good it is"), ("3", "Limits")]
    assert card.count('<div class="wide" tabindex="0"><table>') == card.count("<table>") == 1
    assert card.count("<td") == 12
    assert "fog" not in card  # the page has its own section of that
    assert "&lt;script&gt;alert(1)" in card
    assert "<script" not in card
    (folder / "MODEL_CARD.md").unlink()  # a run of an earlier version
    assert "Model card" not in Page(report.write_report(folder)).words


def test_a_page_of_each_notebook_with_its_code_folded(folder: Path) -> None:
    report.write_report(folder)
    page = Page(folder / "notebooks" / "01_explore.html")
    assert len(page.all("details")) == 4
    assert all("open" not in attributes for attributes in page.all("details"))
    text = (folder / "notebooks" / "01_explore.html").read_text()
    assert text.index("<details") < text.index("hidden &amp; quoted") < text.index("</details>")
    assert page.all("table") == [{}]
    assert len(page.all("img")) == 4  # and the nasty one
    assert all(image.get("alt") for image in page.all("img"))
    assert {"href": "../report.html"} in page.all("a")
    assert "stopped before its end" not in page.words
    assert "stopped before its end" in Page(folder / "notebooks" / "02_train.html").words


def test_nothing_runs_and_nothing_is_loaded(folder: Path) -> None:
    report.write_report(folder)
    for path in folder / "report.html", *(folder / "notebooks").glob("*.html"):
        page = Page(path)
        policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
        assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        # The policy stands before whatever a notebook put in, so it holds for it.
        assert path.read_text().index("Content-Security-Policy") < path.read_text().index("</head>")
        assert page.all("iframe") == page.all("object") == []
        assert [link["href"] for link in page.all("link")] == ["data:,"]
        assert not re.search(r"url\(|@import", path.read_text())
    assert Page(folder / "report.html").all("script") == []
    assert "&lt;script&gt;alert(1)" in (folder / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in (folder / "notebooks" / "01_explore.html").read_text()


def test_a_run_without_a_network_and_one_without_notebooks(folder: Path) -> None:
    config = folder / "config.json"
    kept = config.read_text()
    config.unlink()
    assert "Notebooks only: no model was trained in this run." in Page(report.write_report(folder)).words
    config.write_text(kept)
    for path in (folder / "notebooks").iterdir():
        path.unlink()
    words = Page(report.write_report(folder)).words
    assert "98.77 %" in words
    assert "Results" not in words
    assert "The data" not in words


def test_an_incomplete_run_says_so(folder: Path) -> None:
    mark_incomplete(folder, "notebooks", "notebook 02_train: code cell 2: ValueError: <b>no</b>")
    report.write_report(folder)
    assert "incomplete: notebook 02_train: code cell 2: ValueError: &lt;b&gt;no" in (folder / "report.html").read_text()


# What reaches out of the window, but for what is moved sideways in a box of its own that does not.
CUT = """[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth + 0.5
    && !one.parentElement.closest('.scroll, .wide, pre, .rendered_html')).map(one => one.outerHTML.slice(0, 80))"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_it_fits_and_asks_nothing_elsewhere(folder: Path, scheme: str, width: int) -> None:
    from tests.chromium import chromium

    report.write_report(folder)
    with chromium() as browser:
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})  # type: ignore[arg-type]
        asked: list[str] = []
        page.on("requestfinished", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: asked.append(dialog.message))
        for path in folder / "report.html", folder / "notebooks" / "01_explore.html":
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(CUT) == []
            assert page.evaluate("[...document.images].filter(i => i.src.startsWith('data:')).every(i => i.naturalWidth)")
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_robustness_is_a_table_where_it_was_measured(folder: Path) -> None:
    assert "MNIST-C" not in Page(report.write_report(folder)).words
    rows = [
        {"change": "clean", "group": "clean", "n": 360, "accuracy": 0.97, "low": 0.94, "high": 0.98}
        | {"difference": None, "p_value": None},
        {"change": "dotted_line", "group": "MNIST-C", "n": 360, "accuracy": 0.5, "low": 0.45, "high": 0.55}
        | {"difference": -0.47, "p_value": 1e-9},
        {"change": "fog", "group": "MNIST-C", "n": 360, "accuracy": 0.96, "low": 0.93, "high": 0.97}
        | {"difference": -0.01, "p_value": 0.7},
    ]
    found = {"mean": 0.73, "mean_interval": [0.7, 0.76], "worst": "dotted_line", "rows": rows}
    (folder / "robustness.json").write_text(json.dumps(found))
    words = Page(report.write_report(folder)).words
    mean = "Mean accuracy over the fifteen corruptions of MNIST-C: 73.00 % (95 % interval 70.00 to 76.00 %)."
    assert f"{mean} Worst is dotted line." in words
    assert "dotted lineMNIST-C36050.00 %45.00 to 55.00-47.00" in words
    assert "fogMNIST-C36096.00 %93.00 to 97.00-1.00 (not significant)" in words
    images = len(Page(report.write_report(folder)).all("img"))
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "robustness.png").write_bytes(b"picture")
    shown = Page(report.write_report(folder)).all("img")
    assert len(shown) == images + 1
    assert f"data:image/png;base64,{base64.b64encode(b'picture').decode()}" in [image["src"] for image in shown]
    (folder / "robustness.json").write_text(json.dumps(found | {"mean_interval": [None, None]}))
    assert "73.00 %. Worst" in Page(report.write_report(folder)).words
    for damaged in "{", "[1]", '{"mean": 0.5}':
        (folder / "robustness.json").write_text(damaged)
        with pytest.raises(RunError, match=r"robustness.json is damaged .*mnist evaluate .* --robustness"):
            report.write_report(folder)
