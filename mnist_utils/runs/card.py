"""A run's model card: what its model is, what it is for, how good it is, and what it cannot do; in words, for people.

The form is that of Mitchell et al. (2019), Model cards for model reporting. FAT*.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mnist_utils._support import files
from mnist_utils.data.classes import class_word
from mnist_utils.data.own import is_path
from mnist_utils.data.sources import SOURCES
from mnist_utils.evaluation.calibration import count_errors
from mnist_utils.evaluation.errors import confused_pairs, per_class_table, recall_homogeneity_test
from mnist_utils.evaluation.metrics import Metrics, compute_metrics
from mnist_utils.evaluation.statistics import format_p_value
from mnist_utils.runs.evaluate import read_robustness
from mnist_utils.runs.run import CARD, Run, RunError

if TYPE_CHECKING:
    from jinja2 import Environment

_ROWS = 3, 5  # the weakest classes, and the pairs, that are named


def write_card(run: Run) -> Path:
    """Write a run's model card into its folder, and return its path.

    Raises
    ------
    RunError
        If the run is incomplete or damaged.
    OSError
        If it cannot be written.
    """
    files.write_text_atomic(run.path / CARD, model_card(run))
    return run.path / CARD


def model_card(run: Run) -> str:
    """Write a run's model card as Markdown, from what the run's folder holds.

    Parameters
    ----------
    run : Run
        With metrics and predictions; imported ones, those of your own data, and those without validation images, too.

    Raises
    ------
    RunError
        If the run is incomplete or damaged.
    """
    found, config, facts = run.trained(), run.config, run.facts
    matrix = found.test.confusion_matrix
    content = {
        "run": run,
        "config": config,
        "facts": {"started": "", "from": None} | facts,
        "versions": [f"{name} {version}" for name, version in facts.get("versions", {}).items()],
        "commit": facts.get("git_commit"),
        "processor": facts.get("cpu", {}).get("name", "not recorded"),
        "metrics": found,
        "word": class_word(run.classes),
        "own_data": is_path(config.dataset),
        "own_code": [name for name in (config.model, config.augment or "") if "@" in name],
        "parameters": count_parameters(run.path / "model.keras"),
        "training_images": _training_images(run),
        "results": _results(run),
        "weakest": _weakest(found.test, run.classes),
        "homogeneity": recall_homogeneity_test(matrix),
        "pairs": list(confused_pairs(matrix, _ROWS[1], run.classes).itertuples(index=False)),
        "errors": count_errors(*run.predictions()),
        "robustness": read_robustness(run.path),
    }
    return _environment().get_template("model_card.md").render(content)


def count_parameters(model: Path) -> int | None:
    """Count the parameters in a ``.keras`` file, as Keras's ``count_params`` does, without TensorFlow.

    Returns
    -------
    int, optional
        None where the file is missing, or its weights cannot be read.
    """
    import h5py

    found: list[int] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not re.match(r"optimizer/|.*seed_generator", name):
            found.append(item.size)

    try:
        with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            weights.visititems(visit)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    return sum(found)


def _training_images(run: Run) -> int | None:
    """Return the number of training images; None where an earlier version did not record it."""
    config = run.config
    if found := run.facts["dataset"].get("images"):
        return int(found["training"])
    if config.train_limit:
        return config.train_limit
    if is_path(config.dataset) or run.dataset_name not in SOURCES:
        return None
    validation = run.trained().validation
    return SOURCES[run.dataset_name].parts[0].count - (validation.n if validation else 0)


def _results(run: Run) -> list[tuple[str, Metrics, Metrics | None]]:
    """Pair each part's recorded metrics with those of the calibrated predictions; None where there are none of these."""
    parts: list[tuple[Literal["validation", "test"], Metrics | None]] = [
        ("validation", run.trained().validation),
        ("test", run.trained().test),
    ]
    rows: list[tuple[str, Metrics, Metrics | None]] = []
    for part, recorded in parts:
        if recorded is None:  # trained on all images
            continue
        try:
            calibrated = compute_metrics(*run.predictions(part))
        except RunError:
            if part == "test":
                raise
            calibrated = None  # earlier versions did not keep them
        rows.append((part, recorded, calibrated))
    return rows


def _weakest(metrics: Metrics, classes: Sequence[str]) -> list[Any]:
    """List the classes with the lowest recall below 1, with 95 % intervals."""
    table = per_class_table(metrics.confusion_matrix, classes)
    lowest = table[table["recall"] < 1].sort_values("recall", kind="stable").head(_ROWS[0])
    return list(lowest.rename_axis("name").reset_index().itertuples())


# --- the template -----------------------------------------------------------------------------------------


def _environment() -> Environment:
    """Make the environment of the card's template: an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mnist_utils.runs", ""),
        autoescape=False,  # noqa: S701 - Markdown; `md` escapes what people named
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "md": escape_markdown,
        "code": lambda text: f"`{' '.join(str(text).split()).replace('`', chr(39))}`",
        "percent": lambda share: f"{100 * share:.2f} %",
        "interval": lambda ends: f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f} %",
        "number": lambda n: f"{n:,}",
        "p": format_p_value,
    }
    return environment


def escape_markdown(text: object) -> str:
    """Make Markdown show a text as it is, in one line and in one cell of a table."""
    line = " ".join(str(text).split())
    return re.sub(r"[\\`*\[\]<>|~$&#]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
