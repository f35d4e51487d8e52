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
from mnist_utils.experiments.grid import Trial, describe_trial, varied_parameters
from mnist_utils.pipeline import parameters, report
from mnist_utils.runs.run import NOTEBOOKS, Run


def write_sweep_report(folder: Path, points: list[Trial], found: Mapping[str, Run]) -> Path:
    """Write ``report.html`` into a sweep's folder.

    Parameters
    ----------
    folder : Path
        The sweep's.
    points : list of Point
    found : mapping
        From `experiments.store.read_trials`.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    done, names = store.trained_runs(found), varied_parameters(points)
    content = (
        report.template_environment()
        .get_template("sweep.html")
        .render(
            name=folder.name,
            points=len(points),
            done=len(done),
            failed=[
                _failed_trial(folder, point, found[point.key], names)
                for point in points
                if point.key in found and not store.is_trained(found[point.key])
            ],
            compared=_comparison(done) if done else None,
            comparison=results,
        )
    )
    files.write_text_atomic(folder / "report.html", content)
    return folder / "report.html"


def _comparison(done: list[Run]) -> dict[str, Any]:
    trials = results.trials_table(done)
    settings = results.settings_table(trials)
    return {
        "chosen": results.best_setting(done, trials),
        "names": results.trial_parameters(trials),
        "ranked": results.ranked_count(settings),
        "settings": results.formatted_settings(settings).to_dict("records"),
        "seconds": trials["seconds"].sum(),
        "data": trials["data"].iloc[0],
        "n": done[0].metrics["validation"]["n"],
        "commits": sorted(set(trials["commit"]) - {""}),
        "cpus": sorted({run.config.get("cpu", {}).get("name", "?") for run in done}),
        "note": "; ".join(sorted({run.config["dataset"]["note"] for run in done} - {""})),
        "figures": [(_png(figure), alt, wide) for figure, alt, wide in figures.sweep_figures(trials)],
    }


def _failed_trial(folder: Path, point: Trial, run: Run, names: list[str]) -> dict[str, str]:
    notebook = f"{store.TRIALS}/{point.key}/{NOTEBOOKS}/{parameters.TRAINING_NOTEBOOK}.ipynb"
    return {
        "key": point.key,
        "what": describe_trial(point, names),
        "why": run.incomplete,
        "notebook": notebook if (folder / notebook).is_file() else "",
    }


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return base64.b64encode(buffer.getvalue()).decode()
