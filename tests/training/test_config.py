from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mnist_utils import ConfigError
from mnist_utils.cli.options import default_text
from mnist_utils.data.augmentation import AUGMENTATIONS
from mnist_utils.data.sources import NAMES as DATASETS
from mnist_utils.training.config import (
    FLAGS,
    TrainConfig,
    allowed_values,
    given_fields,
    make_config,
)
from mnist_utils.training.network import NAMES, load_network
from mnist_utils.training.precision import choose_precision


def test_has_every_hyper_parameter_and_a_default_for_each() -> None:
    config = make_config()
    assert set(TrainConfig.model_fields) >= {
        "dataset", "model", "epochs", "batch_size", "learning_rate", "conv_dropout", "dense_dropout",
        "augment", "precision", "seed", "validation_fraction", "train_limit",
    }  # fmt: skip
    assert config.model == "fast"
    assert config.dataset == "auto"


@pytest.mark.parametrize("model", NAMES)
def test_a_model_has_its_recipe(model: str) -> None:
    config, recipe = make_config(model=model).model_dump(), load_network(model).recipe
    assert recipe
    assert {name: config[name] for name in recipe} == recipe


def test_the_earlier_systems_recipes() -> None:
    a, b = make_config(model="branched"), make_config(model="simple")
    assert (a.epochs, a.batch_size, a.conv_dropout, a.dense_dropout) == (10, 32, 0.25, 0.5)
    assert (b.epochs, b.conv_dropout, b.dense_dropout) == (13, 0, 0)


def test_given_values_override_the_recipe_and_none_means_default() -> None:
    config = make_config(model="branched", epochs="3", batch_size=None, conv_dropout=0)
    assert (config.epochs, config.batch_size, config.conv_dropout) == (3, 32, 0)


def test_digits_gets_more_epochs() -> None:
    assert make_config(dataset="digits").epochs == 10 * make_config(dataset="mnist").epochs
    assert make_config(dataset="digits", epochs=2).epochs == 2


def test_is_frozen() -> None:
    with pytest.raises(ValidationError):
        make_config().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs: given 0; allowed: a whole number from 1 to 10000"),
        ({"epochs": "2.5"}, "epochs: given 2.5; allowed: a whole number from 1 to 10000"),
        ({"epochs": True}, "epochs: given True; allowed: a whole number from 1 to 10000"),
        ({"epochs": ""}, "epochs: given ''; allowed: a whole number from 1 to 10000"),
        ({"batch_size": -1}, "batch_size: given -1; allowed: a whole number from 1 to 60000"),
        ({"learning_rate": 0}, "learning_rate: given 0; allowed: a number above 0 to 1"),
        ({"learning_rate": "nan"}, "learning_rate: given nan; allowed: a number above 0 to 1"),
        ({"conv_dropout": 1.5}, "conv_dropout: given 1.5; allowed: a number from 0 below 1"),
        ({"dense_dropout": 1}, "dense_dropout: given 1; allowed: a number from 0 below 1"),
        (
            {"model": "nosuch"},
            f"model: given nosuch; allowed: {', '.join(NAMES)}, or your own: file.py or file.py:function",
        ),
        (
            {"dataset": "nosuch"},
            f"dataset: given nosuch; allowed: {', '.join(DATASETS)}, or a path, as ./shapes or train.csv",
        ),
        (
            {"augment": "flip"},
            f"augment: given flip; allowed: {', '.join(AUGMENTATIONS)}, or your own: file.py or file.py:function",
        ),
        ({"precision": "float16"}, "precision: given float16; allowed: auto, float32, mixed_bfloat16"),
        ({"schedule": "step"}, "schedule: given step; allowed: constant, cosine, one_cycle"),
        ({"momentum": 0.9}, "momentum: given 0.9 with adam; allowed: with sgd and rmsprop"),
        ({"optimizer": "lion"}, "optimizer: given lion; allowed: adam, adamw, sgd, rmsprop, nadam, adagrad"),
        ({"weight_decay": -1}, "weight_decay: given -1; allowed: a number from 0 to 1"),
        ({"seed": -1}, "seed: given -1; allowed: a whole number from 0 below 2147483648"),
        ({"validation_fraction": -0.1}, "validation_fraction: given -0.1; allowed: a number from 0 to 0.5"),
        ({"train_limit": 5}, "train_limit: given 5; allowed: a whole number from 100"),
        ({"patience": 0}, "patience: given 0; allowed: a whole number from 1"),
        ({"raw": "maybe"}, "raw: given maybe; allowed: true, false"),
        ({"skip_unreadable": 2}, "skip_unreadable: given 2; allowed: true, false"),
    ],
)
def test_an_error_names_the_field_the_value_and_what_is_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_config(**given)
    assert str(error.value) == message


def test_unknown_fields_are_rejected() -> None:
    with pytest.raises(ConfigError, match=r"^epocs: no such hyper-parameter; .*dataset, .*epochs"):
        make_config(epocs=3)


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        make_config(epochs=0, seed=-1)
    assert len(str(error.value).splitlines()) == 2


def test_help_texts() -> None:
    assert allowed_values("epochs") == "a whole number from 1 to 10000"
    epochs = {name: load_network(name).recipe["epochs"] for name in NAMES}
    assert default_text("epochs") == ", ".join(f"{name} {n}" for name, n in epochs.items())
    assert (epochs["fast"], epochs["simple"]) == (1, 13)
    assert default_text("model") == "fast"
    assert default_text("patience") == "off"
    assert default_text("train_limit") == "all"
    assert (allowed_values("raw"), default_text("raw")) == ("true, false", "off")


@pytest.mark.parametrize(("given", "value"), [(True, True), ("true", True), (False, False), ("false", False), (None, False)])
def test_a_flag_is_a_bool_or_its_text(given: Any, value: bool) -> None:
    assert make_config(raw=given).raw is value
    assert given_fields(make_config(raw=given).model_dump())["raw"] is value
    assert {"raw", "skip_unreadable"} == FLAGS


def test_notebook_parameters_may_ask_for_the_default() -> None:
    given = TrainConfig(model="branched").model_dump() | {"epochs": -1, "conv_dropout": -1.0, "schedule": "", "other": 3}
    found = given_fields(given)
    default = dict.fromkeys(["epochs", "conv_dropout", "schedule", "from_run", "freeze"])
    assert found == TrainConfig(model="branched").model_dump() | default
    with pytest.raises(KeyError, match="seed"):
        given_fields({name: value for name, value in given.items() if name != "seed"})


@pytest.mark.parametrize(("flags", "expected"), [("avx512f amx_bf16", "mixed_bfloat16"), ("avx2 fma", "float32")])
def test_precision_follows_the_cpu(flags: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : {flags}\n")
    assert choose_precision("auto") == expected
    assert choose_precision("float32") == "float32"
