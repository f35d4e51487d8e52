"""A run as web pages: its report, and each executed notebook. They load nothing from the internet."""

from __future__ import annotations

import base64
import copy
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_utils._support import files
from mnist_utils.runs import evaluate
from mnist_utils.runs.find import read_run
from mnist_utils.runs.run import CARD, NOTEBOOKS

if TYPE_CHECKING:
    from jinja2 import Environment
    from nbformat import NotebookNode

    from mnist_utils.runs.run import Run


TAG = "report"  # of the cells whose figures belong in the report
# What a report begins with: notebook, what the figure's heading says, and the figure of the run that shows the same.
RESULTS = (
    ("02_train", "confused", "confusion_matrix"),
    ("02_train", "curves", "training_curves"),
    ("06_error_analysis", "worst errors", ""),
    ("06_error_analysis", "may be incorrect", ""),  # calibration on validation images
    ("06_error_analysis", "test set", ""),  # and on test images
)
_FIRST, _DATA = ("02_train", "06_error_analysis"), "01_explore"  # pages before and after all others


@dataclass(frozen=True)
class Figure:
    """A figure: its PNG in base64, what it shows in words, the section it stands in, the notebook (empty: the run's own)."""

    png: str
    alt: str
    heading: str
    page: str = ""

    @property
    def wide(self) -> bool:
        """Whether it needs the whole width of a page to be read."""
        width, height = struct.unpack(">II", base64.b64decode(self.png[:32])[16:24])  # the PNG's header
        return bool(width > 1.6 * height)


@dataclass(frozen=True)
class Page:
    """An executed notebook: its name, its title, its seconds, whether it stopped before its end, its figures."""

    name: str
    title: str
    seconds: float | None
    stopped: bool
    figures: list[Figure]


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a run's folder, and ``notebooks/NAME.html`` for each executed notebook.

    Parameters
    ----------
    folder : Path
        The run's; it may be one in which no model was trained.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    RunError
        If the run is damaged.
    OSError
        If it cannot be written.
    """
    import nbformat

    templates = template_environment()
    pages = []
    for path in sorted((folder / NOTEBOOKS).glob("*.ipynb")):
        notebook = _described(nbformat.read(path, as_version=4), path.stem)
        pages.append(_make_page(notebook, path.stem))
        content = templates.get_template("notebook.html").render(
            page=pages[-1], run=folder.name, content=_notebook_html(notebook), highlighting=_highlighting()
        )
        files.write_text_atomic(path.with_suffix(".html"), content)
    run = read_run(folder, folder.parent) if (folder / "config.json").is_file() else None
    trained = run if run and run.metrics else None
    results, others = _split_figures(pages, trained)
    report = templates.get_template("report.html").render(
        name=folder.name,
        run=trained,
        incomplete=run.incomplete if run else "",
        pages=pages,
        results=results,
        others=[page for page in others if page.name != _DATA],
        data=[page for page in others if page.name == _DATA],
        robustness=_read_robustness(folder),
        card=_card_html(folder / CARD),
    )
    files.write_text_atomic(folder / "report.html", report)
    return folder / "report.html"


def _split_figures(pages: list[Page], run: Run | None) -> tuple[list[Figure], list[Page]]:
    """Split off the figures that a report begins with, in the order of `RESULTS`; and put the other pages into order."""
    results: list[Figure] = []
    for name, words, own in RESULTS:
        found = [figure for page in pages if page.name == name for figure in page.figures if words in figure.heading.lower()]
        results += found or _figure_of_run(run, own)
    left = [replace(page, figures=[figure for figure in page.figures if figure not in results]) for page in pages]
    order = {name: place for place, name in enumerate(_FIRST)}
    return results, sorted(left, key=lambda page: order.get(page.name, len(_FIRST)))


def _figure_of_run(run: Run | None, name: str) -> list[Figure]:
    """Take a figure from the run's folder, if it has it."""
    if run is None or not (path := run.path / "figures" / f"{name}.png").is_file():
        return []
    words = name.replace("_", " ")
    return [Figure(base64.b64encode(path.read_bytes()).decode(), f"{words} of {run.describe()}", words.capitalize())]


def _read_robustness(folder: Path) -> dict[str, Any] | None:
    """Read what `mnist evaluate --robustness` wrote, if it was called: the table, and the figure in base64."""
    content, figure = evaluate.read_robustness(folder), folder / evaluate.ROBUSTNESS_FIGURE
    if content is None:
        return None
    return content | {"figure": base64.b64encode(figure.read_bytes()).decode() if figure.is_file() else ""}


def _card_html(path: Path) -> Any:
    """Render a run's model card as a part of its report, which has the corrupted images and the title already."""
    from markupsafe import Markup
    from mistune import create_markdown

    if not path.is_file():  # of an earlier version
        return ""
    text = re.sub(r"\A# .*\n", "", path.read_text(encoding="utf-8"))
    text = re.sub(r"^### Corrupted images\n.*?(?=^## )", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^#", "##", text, flags=re.MULTILINE)
    html = str(create_markdown(escape=True, plugins=["table"])(text))
    html = re.sub(r"(<table>.*?</table>)", r'<div class="wide" tabindex="0">\1</div>', html, flags=re.DOTALL)
    return Markup(html)  # noqa: S704 - what it holds of HTML was escaped


def template_environment() -> Environment:
    """Make the template environment: an undefined name is an error, and content cannot run scripts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mnist_utils.pipeline", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.2f} %"
    environment.filters["duration"] = _duration
    return environment


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


# --- notebooks --------------------------------------------------------------------------------------------


def _described(notebook: NotebookNode, name: str) -> NotebookNode:
    """Give every cell with figures words for those who cannot see them, where its author gave none."""
    notebook = copy.deepcopy(notebook)
    for cell, heading in _sections(notebook):
        if cell.cell_type == "code" and "alt" not in cell.metadata:
            cell.metadata["alt"] = f"Figure of the section “{heading}” in notebook {name}"
    return notebook


def _sections(notebook: NotebookNode) -> list[tuple[NotebookNode, str]]:
    """Pair each cell with the heading that it stands under, as plain text."""
    heading, pairs = "", []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)  # a shell's comment is no heading
            found = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE)
            heading = re.sub(r"[*`]", "", found[-1]) if found else heading
        pairs.append((cell, heading))
    return pairs


def _make_page(notebook: NotebookNode, name: str) -> Page:
    pairs = _sections(notebook)
    facts = notebook.metadata.get("papermill", {})
    return Page(
        name=name,
        title=next((heading for _, heading in pairs if heading), name),
        seconds=facts.get("duration"),
        stopped=facts.get("exception") is not False,
        figures=[
            Figure(
                "".join(output.data["image/png"].split()),
                output.metadata.get("image/png", {}).get("alt") or cell.metadata["alt"],
                heading,
                name,
            )
            for cell, heading in pairs
            if TAG in cell.metadata.get("tags", [])
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ],
    )


# Code is folded; that needs no script.
_FOLDED = """
{%- extends 'basic/index.html.j2' -%}
{%- block input_group -%}
<details class="code"><summary>Code</summary>{{ super() }}</details>
{%- endblock -%}
"""


def _notebook_html(notebook: NotebookNode) -> Any:
    from markupsafe import Markup
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        raw_template=_FOLDED,
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    # Without what needs a script: the pages allow none.
    exporter.config.NbConvertBase.display_data_priority = [
        "text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain",
    ]  # fmt: skip
    return Markup(exporter.from_notebook_node(notebook)[0])  # noqa: S704 - the page's policy lets nothing in it act


def _highlighting() -> Any:
    from markupsafe import Markup
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return Markup(f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}")  # noqa: S704 - Pygments' own
