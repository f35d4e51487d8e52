"""A run, read back from its folder: configuration, metrics, predictions, figures, and what is still missing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_utils import MnistError
from mnist_utils.evaluation.metrics import Metrics
from mnist_utils.training import CHECKPOINT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mnist_utils._support.arrays import Labels
    from mnist_utils.data.datasets import Dataset
    from mnist_utils.training.config import TrainConfig

REFERENCE = "reference"
NOTEBOOKS = "notebooks"
INCOMPLETE = "incomplete"
NETWORK, AUGMENT = "network.py", "augment.py"  # the texts of what is not built in; read by people, never run
CARD = "MODEL_CARD.md"
FIGURES = "training_curves", "confusion_matrix"
FILES = {  # of a complete run, with what each holds
    "config.json": "every hyper-parameter; data set and its hash; versions; git commit; CPU",
    "history.csv": "accuracy and loss of each epoch, training and validation",
    "curve.csv": "accuracy and loss while training, ten points an epoch",
    "metrics.json": "accuracy with interval, log loss, calibration error, per-class table, confusion matrix",
    CARD: "in words: what the model is, what it is for, how good it is, and its limits",
    "predictions.npz": "the probabilities for every validation and test image, and the labels",
    "model.keras": "the model for Keras; takes (n, 28, 28, 1) from 0 to 255, white on black",
    "model.tflite": "the same for LiteRT, which predicts without TensorFlow",
    NETWORK: "the text of your own network, if it is one; only kept, never run from here",
    AUGMENT: "the text of your own augmentation, if it is one; only kept, too",
    "figures/training_curves.png": "accuracy and loss, drawn",
    "figures/confusion_matrix.png": "which digit was taken for which, drawn",
}
Part = Literal["training", "notebooks"]  # of a run, each of which can be incomplete


class RunError(MnistError):
    """A run that is missing, incomplete, in use, or not comparable."""


@dataclass(frozen=True)
class RunMetrics:
    """What a run found.

    Attributes
    ----------
    validation : Metrics, optional
        None where the run was trained on all images, with a validation_fraction of 0.
    test : Metrics
        As `validation`, of the model as it was trained, before its probabilities were calibrated; accuracies are the same
        after it.
    seconds : dict
        ``training`` and ``evaluation``.
    temperature : float
        What the logits were divided by to calibrate them; fitted on the validation images. 1 where that did not help on
        validation images that it was not fitted on (five-fold, if there are five errors), or where there was no error.
    temperature_interval : (float, float), optional
        Its 95 % interval over images; None where nothing was fitted, and of older runs.
    """

    validation: Metrics | None
    test: Metrics
    seconds: dict[str, float]
    temperature: float = 1.0
    temperature_interval: tuple[float, float] | None = None

    def validated(self) -> Metrics:
        """Return the validation metrics.

        Raises
        ------
        RunError
            If there are none.
        """
        if self.validation is None:
            raise RunError("a run that was trained on all images (validation_fraction 0) has nothing to be chosen by")
        return self.validation


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes
    ----------
    path : Path
    facts : dict
        Content of ``config.json``: hyper-parameters, data set, versions, machine; empty where no training began.
    metrics : RunMetrics, optional
        None until the model is trained and tested.
    incomplete : str
        Which part is incomplete, and why; empty where none is. A run whose notebooks are incomplete may have metrics.
    """

    path: Path
    facts: dict[str, Any]
    metrics: RunMetrics | None
    incomplete: str

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def config(self) -> TrainConfig:
        """The hyper-parameters, as they were recorded."""
        from mnist_utils.training.config import TrainConfig

        return TrainConfig.model_construct(**self.facts["config"])  # checked when the run began

    @property
    def imported(self) -> bool:
        """Whether its model was made elsewhere, see `runs.importing`: nothing is known of its training."""
        return bool(self.facts) and self.facts["config"].get("epochs") == 0

    @property
    def origin(self) -> str:
        """Where the model comes from, in words."""
        return f"imported, calibrated on {self.dataset_name}" if self.imported else f"trained on {self.dataset_name}"

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of `FIGURES` that can be drawn."""
        return FIGURES[1:] if self.imported else FIGURES

    @property
    def dataset_name(self) -> str:
        """The data set's name; ``?`` where no training began."""
        return str(self.facts["dataset"]["name"]) if self.facts else "?"

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label."""
        from mnist_utils.data.classes import DIGITS

        return tuple(self.facts["dataset"].get("classes", DIGITS)) if self.facts else ()

    @property
    def dataset_note(self) -> str:
        """What must be shown with the run's numbers, see `Dataset.note`."""
        return str(self.facts["dataset"]["note"]) if self.facts else ""

    @property
    def sha256(self) -> str:
        """The hash of the data set."""
        return str(self.facts["dataset"]["sha256"])

    @property
    def started(self) -> datetime:
        """When the run began."""
        return datetime.fromisoformat(self.facts.get("started", "1970-01-01T00:00:00+00:00"))

    @property
    def epochs_done(self) -> int | None:
        """How many epochs of a training that is not finished are over; None where no checkpoint says so."""
        try:
            with (self.path / CHECKPOINT).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return len(json.loads(str(archive["state"]))["history"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def describe(self) -> str:
        """Name the run, its model and what it was trained on, for the title of a figure."""
        return f"run {self.name} ({self.config.model}, {self.origin}{self.seed_words})"

    @property
    def seed_words(self) -> str:
        """``, seed 0`` for titles; empty for an imported model."""
        return "" if self.imported else f", seed {self.config.seed}"

    def trained(self, wanted: str = "model yet") -> RunMetrics:
        """Return the metrics; `wanted` is what a run without them has none of.

        Raises
        ------
        RunError
            Says why the run is incomplete.
        """
        if not self.metrics:
            raise RunError(f"run {self.name} is incomplete ({self.incomplete}): it has no {wanted}")
        return self.metrics

    def history(self) -> pd.DataFrame:
        """Read accuracy and loss, a row an epoch; see `training.fit.Trained`.

        Raises
        ------
        RunError
            If the model was imported.
        """
        import pandas as pd

        if self.imported:
            raise RunError(f"run {self.name} was imported, not trained here: it has no history")
        return pd.read_csv(self.path / "history.csv")

    def predictions(self, part: Literal["validation", "test"] = "test") -> tuple[NDArray[np.float32], Labels]:
        """Read the model's predictions, as they were recorded.

        Returns
        -------
        probabilities : float32 array, shape (n, classes), calibrated
        labels : uint8 array, shape (n,)

        Raises
        ------
        RunError
            If the file is missing or damaged, or was written before validation predictions were kept.
        """
        from mnist_utils.runs.predictions import read_predictions

        return read_predictions(self, part)

    def predict(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Predict with the run's model, without TensorFlow.

        Parameters
        ----------
        images : array, shape (n, 28, 28), values 0 to 255, white on black; n > 0

        Returns
        -------
        float32 array, shape (n, classes)
            Calibrated probabilities.

        Raises
        ------
        ModelError
            If the model's file is missing or damaged.
        """
        return self._model(images)

    @cached_property
    def _model(self) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        from mnist_utils.runs.inference import load_model

        return load_model(self.path / "model.tflite")

    def dataset(self, data_dir: str | Path | None = None) -> Dataset:
        """Load the data set that the run was trained and tested on, split as it was then.

        Raises
        ------
        DataError
            If it is not available.
        RunError
            If the one that was found is not the one of the run.
        """
        from mnist_utils.data.datasets import load_dataset
        from mnist_utils.data.own import is_path

        own = is_path(self.config.dataset)
        dataset = load_dataset(
            str(Path(data_dir or self.config.dataset).resolve()) if own else self.dataset_name,
            data_dir=None if own else data_dir,
            validation_fraction=self.config.validation_fraction,
            train_limit=self.config.train_limit,
            raw=self.config.raw,
            skip_unreadable=self.config.skip_unreadable,
        )
        if dataset.sha256 != self.sha256:
            raise RunError(
                f"run {self.name} was trained on a {self.dataset_name} of SHA-256 {self.sha256[:12]}..., "
                f"{dataset.source} has {dataset.sha256[:12]}...: not the same images. Name another folder with data_dir"
            )
        return dataset

    def figure(self, name: str, *, figure: Figure | None = None) -> Figure:
        """Draw one of the run's figures.

        Parameters
        ----------
        name : str
            One of `figures`.
        figure : Figure, optional
            Where to draw: ``plt.figure()`` for one that is shown. Default: one that is only ever saved.
        """
        from mnist_utils.runs.figures import draw_figure

        return draw_figure(self, name, figure)
