"""The committed model's mistakes on the real MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_utils.data.datasets import Dataset, load_dataset
from tests.paths import REFERENCE


@pytest.fixture(scope="session")
def mistakes(real_mnist: Path) -> tuple[Any, Dataset, np.ndarray, np.ndarray]:
    """Return the reference model, MNIST, 16 test images that it predicts incorrectly (indices), and the predictions."""
    from mnist_utils.runs import inference

    data = load_dataset("mnist", data_dir=real_mnist)
    model = inference.load_keras_model(REFERENCE / "model.keras")
    predicted = model.predict(data.x_test[..., None], batch_size=500, verbose=0).argmax(axis=1)
    rows = np.flatnonzero(predicted != data.y_test)[:16]
    return model, data, rows, predicted[rows]
