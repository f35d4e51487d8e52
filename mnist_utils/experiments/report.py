"""A sweep as a page to read in a browser: what each parameter did, the settings in order, and what failed."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mnist_utils._support import files
from mnist_utils.experiments import figures, results, store
from mnist_utils.experiments.grid import Point, varied, words
from mnist_utils.pipeline import parameters, report
from mnist_utils.runs.run import NOTEBOOKS, Run


def write(folder: Path, points: list[Point], found: Mapping[str, Run]) -> Path:
    """Write ``report.html`` into a sweep's folder.

    Parameters
    ----------
    folder : Path
        The sweep's.
    points : list of Point
    found : mapping
        From `experiments.store.read`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    done, names = store.whole(found), varied(points)
    content = (
        report.environment()
        .get_template("sweep.html")
        .render(
            name=folder.name,
            points=len(points),
            done=len(done),
            failed=[
                _failure(folder, point, found[point.key], names)
                for point in points
                if point.key in found and not store.is_done(found[point.key])
            ],
            compared=_compared(done) if done else None,
            comparison=results,
        )
    )
    files.write_text(folder / "report.html", content)
    return folder / "report.html"


def _compared(done: list[Run]) -> dict[str, Any]:
    trials = results.table(done)
    settings = results.settings(trials)
    return {
        "chosen": results.choose(done, trials),
        "names": results.parameters(trials),
        "ranked": results.ranked(settings),
        "settings": results.in_words(settings).to_dict("records"),
        "seconds": trials["seconds"].sum(),
        "data": trials["data"].iloc[0],
        "n": done[0].metrics["validation"]["n"],
        "commits": sorted(set(trials["commit"]) - {""}),
        "cpus": sorted({run.config.get("cpu", {}).get("name", "?") for run in done}),
        "note": "; ".join(sorted({run.config["dataset"]["note"] for run in done} - {""})),
        "figures": [(_png(figure), alt, wide) for figure, alt, wide in figures.figures(trials)],
    }


def _failure(folder: Path, point: Point, run: Run, names: list[str]) -> dict[str, str]:
    notebook = f"{store.POINTS}/{point.key}/{NOTEBOOKS}/{parameters.TRAINS}.ipynb"
    return {
        "key": point.key,
        "what": words(point, names),
        "why": run.incomplete,
        "notebook": notebook if (folder / notebook).is_file() else "",
    }


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return base64.b64encode(buffer.getvalue()).decode()
