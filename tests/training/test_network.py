from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from mnist_utils import ConfigError
from mnist_utils._support.own_function import OwnFunction
from mnist_utils.training import architectures
from mnist_utils.training.config import make_config
from mnist_utils.training.network import KERAS_DEFAULTS, NAMES, Network, load_network, short_name

FILE = """
recipe = {"epochs": 5, "learning_rate": 0.5, "optimizer": "sgd"}
raise RuntimeError("only reading a file must not run it")
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_the_built_in_networks_are_the_files_of_their_folder() -> None:
    assert NAMES[0] == "fast"
    folder = Path(architectures.__file__).parent
    assert {f"{name}.py" for name in NAMES} == {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert [load_network(name).identity for name in NAMES] == list(NAMES)


def test_a_file_is_read_and_not_run(mine: Path) -> None:
    found, digest = load_network(f"{mine}:wider"), hashlib.sha256(FILE.encode()).hexdigest()
    source = OwnFunction("mine.py:wider", FILE, "wider", mine.resolve())
    assert found == Network(source, {"epochs": 5, "learning_rate": 0.5, "optimizer": "sgd"})
    assert (found.source.sha256, found.identity) == (digest, f"mine.py:wider@{digest[:8]}")
    assert load_network(str(mine)).source.function_name == "network"


def test_what_is_given_wins_over_the_file_and_the_file_over_keras(mine: Path) -> None:
    config = make_config(model=str(mine), epochs=2)
    assert (config.epochs, config.learning_rate, config.optimizer) == (2, 0.5, "sgd")
    assert config.batch_size == KERAS_DEFAULTS["batch_size"] == 32
    assert config.model == load_network(str(mine)).identity
    mine.write_text(FILE + "#")
    assert make_config(model=str(mine)).model != config.model


def test_without_a_recipe_a_network_has_what_keras_does_by_default() -> None:
    def network() -> None: ...

    config = make_config(model=network)
    found = {name: getattr(config, name) for name in KERAS_DEFAULTS}
    assert found == {
        "epochs": 1, "batch_size": 32, "learning_rate": 1e-3, "schedule": "constant", "label_smoothing": 0.0,
        "augment": "none",
    }  # fmt: skip
    assert config.network.text == "def network() -> None: ...\n"
    assert config.model.startswith("network@")


def test_a_relative_path_is_of_the_working_directory(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mine.parent)
    assert load_network("mine.py").source.path == mine.resolve()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = dict(epochs=5)", r"mine.py, line 1: recipe; allowed: names and plain values, as in \{"),
        ("recipe = {1: 2}", "mine.py, line 1: recipe; allowed: names and plain values"),
        ('recipe = {"epochs": 1}\nrecipe = {"epochs": 2}', "mine.py, line 2: recipe is changed; allowed: one assignment"),
        ('recipe = {"epochs": 1}\nrecipe["epochs"] = 7', "mine.py, line 2: recipe is changed; allowed: one assignment"),
        ('recipe = {"epochs": 0}', "recipe of mine.py: epochs: given 0; allowed: a whole number from 1"),
        ('recipe = {"lr": 1}', "recipe of mine.py: lr: no such hyper-parameter; allowed: .*learning_rate"),
        ('recipe = {"model": "fast"}', "recipe of mine.py: model; allowed: epochs, batch_size"),
        ("x = 1\ndef network(:", "mine.py, line 2: invalid syntax"),
        ("a\0b", "mine.py: source code string cannot contain null bytes|mine.py, line 1: source code"),
    ],
)
def test_a_file_with_a_flaw(text: str, message: str, mine: Path) -> None:
    mine.write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_config(model=str(mine))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"model: there is no file {tmp_path}/no.py"):
        load_network(f"{tmp_path}/no.py")
    (tmp_path / "latin.py").write_bytes(b"# \xe9")
    with pytest.raises(ConfigError, match=r"latin.py cannot be read: it is not UTF-8"):
        load_network(f"{tmp_path}/latin.py")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ConfigError, match=r"folder.py cannot be read: Is a directory"):
        load_network(f"{tmp_path}/folder.py")
    with pytest.raises(ConfigError, match="allowed: a function's name after the colon"):
        load_network(f"{tmp_path}/latin.py:a b")


def test_a_function_without_a_source() -> None:
    given: Any = os.getcwd
    with pytest.raises(ConfigError, match=r"the source of .*getcwd.*, which a run keeps, is missing"):
        load_network(given)


def test_a_short_name_for_a_folder() -> None:
    assert [short_name(name) for name in ("fast", "mine.py:wider@1a2b3c4d", "mine.py@1a2b3c4d", "é.py@1a2b3c4d")] == [
        "fast", "mine-wider", "mine", "network"
    ]  # fmt: skip


def test_a_configuration_read_back_knows_no_function() -> None:
    config = type(make_config()).model_construct(model="mine.py@1a2b3c4d")
    with pytest.raises(ConfigError, match=r"mine.py@1a2b3c4d is your own, and only its text was kept; give its file"):
        _ = config.network


def test_a_recipes_patience_goes_where_nothing_is_validated(mine: Path) -> None:
    mine.write_text('recipe = {"patience": 2}')
    assert make_config(model=str(mine)).patience == 2
    assert make_config(model=str(mine), validation_fraction=0).patience is None
