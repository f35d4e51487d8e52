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
from mnist_utils.pipeline import report
from mnist_utils.runs.run import Run


def write_sweep_report(folder: Path, trials: list[Trial], found: Mapping[str, Run]) -> Path:
    """Write ``report.html`` into a sweep's folder.

    Parameters
    ----------
    folder : Path
        The sweep's.
    trials : list of Trial
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
    done, names = store.trained_runs(found), varied_parameters(trials)
    content = (
        report.template_environment()
        .get_template("sweep.html")
        .render(
            name=folder.name,
            trials=len(trials),
            done=len(done),
            failed=[
                {"key": trial.key, "what": describe_trial(trial, names), "why": found[trial.key].incomplete}
                for trial in trials
                if trial.key in found and not store.is_trained(found[trial.key])
            ],
            trials_folder=store.trials_folder(folder).name,
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
        "n": done[0].trained().validated().n,
        "commits": sorted(set(trials["commit"]) - {""}),
        "cpus": sorted({run.facts.get("cpu", {}).get("name", "?") for run in done}),
        "note": "; ".join(sorted({run.dataset_note for run in done} - {""})),
        "figures": [(_png(figure), alt, wide) for figure, alt, wide in figures.sweep_figures(trials)],
    }


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return base64.b64encode(buffer.getvalue()).decode()
