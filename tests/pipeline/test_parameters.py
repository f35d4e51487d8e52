from __future__ import annotations

import ast
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from papermill import inspect_notebook

from mnist_utils import ConfigError
from mnist_utils.pipeline.parameters import resolve_parameters, select_notebooks
from mnist_utils.training.config import TrainConfig, given_fields
from mnist_utils.training.network import NAMES
from tests.paths import CLONE

TRAIN = CLONE / "notebooks" / "02_train.ipynb"


@pytest.fixture(scope="module")
def parameters() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = inspect_notebook(str(TRAIN))
    return found


@pytest.fixture(scope="module")
def defaults(parameters: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in parameters.items()}


def plain_type(hint: Any) -> type:
    """Return int, float or str: what a field's values are, None apart."""
    if get_origin(hint) in (types.UnionType, Union):
        (hint,) = [kind for kind in get_args(hint) if kind is not type(None)]
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    assert isinstance(hint, type)
    return hint


@pytest.mark.parametrize("name", TrainConfig.model_fields)
def test_every_hyper_parameter_is_a_parameter_of_the_training_notebook(
    name: str, parameters: dict[str, dict[str, str]], defaults: dict[str, Any]
) -> None:
    assert name in parameters, f"02_train.ipynb lacks {name}: give it a line in the cell tagged parameters"
    wanted = plain_type(get_type_hints(TrainConfig)[name])
    assert parameters[name]["inferred_type_name"] == wanted.__name__
    assert type(defaults[name]) is wanted
    assert len(parameters[name]["help"]) > 10


def test_the_training_notebook_has_no_other_parameters(parameters: dict[str, dict[str, str]]) -> None:
    assert set(parameters) == set(TrainConfig.model_fields) | {
        "run",
        "results",
        "data_dir",
        "by_hand_images",
        "by_hand_epochs",
    }


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("dataset", ["auto", "digits"])
def test_the_defaults_are_those_of_mnist_train(model: str, dataset: str, defaults: dict[str, Any]) -> None:
    given = given_fields(defaults | {"model": model, "dataset": dataset})
    assert TrainConfig(**given) == TrainConfig(model=model, dataset=dataset)


def test_what_is_given_wins(defaults: dict[str, Any]) -> None:
    given: dict[str, Any] = {"epochs": 7, "conv_dropout": 0.0, "schedule": "constant", "train_limit": 500}
    config = TrainConfig(**given_fields(defaults | given | {"model": "branched"}))
    assert config.model_dump() == TrainConfig(model="branched", **given).model_dump()


@pytest.mark.parametrize(("given", "value"), [("true", True), (True, True), ("false", False)])
def test_a_flag_is_read_as_yes_or_no(given: Any, value: bool) -> None:
    (step,) = resolve_parameters([TRAIN], {"raw": given})
    assert step.given == {"raw": value}
    with pytest.raises(ConfigError, match="raw: given maybe; allowed: true or false"):
        resolve_parameters([TRAIN], {"raw": "maybe"})


def test_every_notebook_that_loads_a_data_set_reads_pictures_in_the_same_way() -> None:
    found = {path.stem: inspect_notebook(str(path)) for path in select_notebooks()}
    loading = [name for name, stated in found.items() if "dataset" in stated]
    assert set(found) - set(loading) == {"05_compare_runs"}  # which reads runs
    assert [name for name, stated in found.items() if {"raw", "skip_unreadable"} <= set(stated)] == loading
