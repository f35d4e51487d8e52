"""Real pictures, which people brought: what share is read correctly must not fall below these floors."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.real_pictures import read_no_digits, read_numbers, read_singles
from mnist_utils.runs.inference import load_model
from tests.paths import MODEL

pytestmark = pytest.mark.pictures

FOLDER = os.environ.get("REAL_PICTURES_DIR", "")


@pytest.fixture(scope="module")
def folder() -> Path:
    assert FOLDER, "set REAL_PICTURES_DIR to a folder as benchmarks/real_pictures.py describes it"
    return Path(FOLDER)


@pytest.fixture(scope="module")
def singles(folder: Path) -> pd.DataFrame:
    return read_singles(folder, load_model(MODEL))


def test_pictures_of_one_digit(singles: pd.DataFrame) -> None:
    assert len(singles) > 600
    assert singles["correct"].mean() >= 0.975
    assert singles.loc[singles["label"] == 1, "correct"].mean() >= 0.93


def test_one_digit_is_hardly_ever_taken_for_several(singles: pd.DataFrame) -> None:
    assert singles["several"].mean() <= 1 / 200


def test_few_wrong_answers_are_confident(singles: pd.DataFrame) -> None:
    assert (~singles["correct"] & (singles["probability"] >= 0.9)).mean() <= 0.01


def test_pictures_of_no_digit_are_refused_or_said_to_be_unlike_digits(folder: Path, singles: pd.DataFrame) -> None:
    assert (read_no_digits(folder, load_model(MODEL))["outcome"] != "answered").mean() >= 0.8
    assert singles["unlike"].mean() <= 0.03


def test_digits_of_numbers(folder: Path) -> None:
    numbers = read_numbers(folder, load_model(MODEL))
    assert 1 - numbers["distance"].sum() / numbers["digits"].sum() >= 0.93
    assert numbers["exact"].sum() / numbers["of"].sum() >= 0.8
