"""`mnist train --config`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mnist_utils.runs.find import read_run
from mnist_utils.runs.folder import mark_incomplete
from tests.conftest import Cli

NETWORK = """
import keras
from keras import layers

recipe = {"epochs": 2}


def wider(classes):
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(classes, "softmax")])
"""


@pytest.fixture
def first(mnist: Cli, tmp_path: Path) -> Path:
    """Train a network of one's own, then delete its file: the run keeps it."""
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    given = ("--dataset", "digits", "--train-limit", "200", "--batch-size", "50", "--model", f"{file}:wider")
    assert mnist("train", "--run", "first", "--results", str(tmp_path), "-q", *given)[0] == 0
    file.unlink()
    return tmp_path / "first" / "config.json"


def test_a_run_s_config_repeats_it(mnist: Cli, first: Path, tmp_path: Path) -> None:
    status, _, err = mnist("train", "-f", str(first), "--run", "again", "--results", str(tmp_path), "-q")
    assert status == 0, err
    one, other = (read_run(name, tmp_path) for name in ("first", "again"))
    np.testing.assert_array_equal(one.predictions()[0], other.predictions()[0])
    assert other.config.epochs == one.config.epochs == 20  # ten times the recipe's, on digits


def test_an_option_overrides_the_file(mnist: Cli, first: Path, tmp_path: Path) -> None:
    again = ("-f", str(first), "--run", "short", "--results", str(tmp_path), "-q", "--epochs", "1", "--seed", "4")
    assert mnist("train", *again)[0] == 0
    config = read_run("short", tmp_path).config
    assert (config.epochs, config.seed, config.batch_size) == (1, 4, 50)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epochz: 3", "epochz: no such hyper-parameter; allowed: dataset, "),
        ("epochs: many", "epochs: given many; allowed: a whole number from 1"),
        ("- epochs", "file.yaml: allowed: lines of the form name: value"),
        (None, "cannot read or write"),
    ],
)
def test_what_the_file_cannot_say_is_refused(text: str | None, told: str, mnist: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    if text is not None:
        file.write_text(text)
    status, _, err = mnist("train", "-f", str(file), "--results", str(tmp_path / "results"))
    assert status != 0
    assert told in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_an_unfinished_run_of_an_own_network_resumes_from_its_own_config(mnist: Cli, first: Path, tmp_path: Path) -> None:
    """The network's file is gone, so the kept text has another file's name, and the same hash."""
    (first.parent / "metrics.json").unlink()
    mark_incomplete(first.parent, "training", "training was not finished")
    again = mnist("train", "-f", str(first), "--run", "first", "--results", str(tmp_path), "-q")
    assert again[0] == 0, again
    other = mnist("train", "-f", str(first), "--run", "first", "--results", str(tmp_path), "-q", "--seed", "3")
    assert "was started with seed 0, now 3" in other[2]


@pytest.mark.parametrize(
    ("model", "kept", "told"),
    [
        ("wider@1a2b3c4d", True, "model wider comes from a notebook, whose imports were not kept"),
        ("foreign.keras@1a2b3c4d", False, "model foreign.keras was made elsewhere"),
    ],
)
def test_what_cannot_be_repeated_says_why(model: str, kept: bool, told: str, mnist: Cli, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"config": {"model": model, "epochs": 2}}))
    if kept:
        (tmp_path / "network.py").write_text("def wider(classes):\n    return keras.Sequential([])\n")
    status, _, err = mnist("train", "-f", str(tmp_path / "config.json"), "--results", str(tmp_path / "r"))
    assert (status, told in err, len(err.splitlines())) == (2, True, 1)


def test_a_path_with_an_at_sign_or_an_emoji_is_a_path(mnist: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "a@b"
    folder.mkdir()
    (folder / "mine.py").write_text(NETWORK)
    (tmp_path / "x.yaml").write_text(f"model: {folder}/mine.py:wider\ndataset: digits\nepochs: 0\n")
    assert "epochs: given 0" in mnist("train", "-f", str(tmp_path / "x.yaml"))[2]
    (tmp_path / "config.json").write_text(json.dumps({"config": {"dataset": str(tmp_path / "\U0001f600")}}))
    assert "\U0001f600" in mnist("train", "-f", str(tmp_path / "config.json"))[2]
