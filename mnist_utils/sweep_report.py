"""A sweep as a page to read in a browser: what each parameter did, the settings in order, and what failed."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

from mnist_utils import atomic, comparison, notebooks, report, runs, sweep, sweep_plots
from mnist_utils.runs import Run
from mnist_utils.sweep import Point


def write(folder: Path, points: list[Point]) -> Path:
    """Write ``report.html`` into a sweep's folder.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    found = sweep.read(folder, points)
    done = [run for run in found.values() if sweep.is_done(run)]
    by_key = {point.key: point for point in points}
    names = comparison.varied([point.config.model_dump() for point in points])
    failed = [_failure(folder, by_key[key], run, names) for key, run in found.items() if not sweep.is_done(run)]
    trials = comparison.table(done) if done else None
    content = (
        report.environment()
        .get_template("sweep.html")
        .render(
            name=folder.name,
            points=len(points),
            done=len(done),
            failed=failed,
            chosen=comparison.choose(done, trials) if trials is not None else None,
            names=comparison.parameters(trials) if trials is not None else [],
            settings=comparison.in_words(comparison.settings(trials)).to_dict("records") if trials is not None else [],
            seconds=trials["seconds"].sum() if trials is not None else 0,
            data=trials["data"].iloc[0] if trials is not None else "",
            n=done[0].metrics["validation"]["n"] if done else 0,
            commits=sorted(set(trials["commit"])) if trials is not None else [],
            cpus=sorted({run.config.get("cpu", {}).get("name", "?") for run in done}),
            note="; ".join(sorted({run.config["dataset"]["note"] for run in done} - {""})),
            figures=[(_png(figure), alt, wide) for figure, alt, wide in sweep_plots.figures(trials)]
            if trials is not None
            else [],
            comparison=comparison,
        )
    )
    atomic.write_text(folder / "report.html", content)
    return folder / "report.html"


def _failure(folder: Path, point: Point, run: Run, names: list[str]) -> dict[str, str]:
    setting = {name: getattr(point.config, name) for name in (*names, comparison.SEED)}
    notebook = f"{sweep.POINTS}/{point.key}/{runs.NOTEBOOKS}/{notebooks.TRAINS}.ipynb"
    return {
        "key": point.key,
        "what": comparison.words(setting),
        "why": run.incomplete,
        "notebook": notebook if (folder / notebook).is_file() else "",
    }


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return base64.b64encode(buffer.getvalue()).decode()
