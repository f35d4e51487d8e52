from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_utils.training.config import make_config
from tests.lazy import lazy

if TYPE_CHECKING:
    import keras

    from mnist_utils.training import optimizer
else:
    keras = lazy("keras")
    optimizer = lazy("mnist_utils.training.optimizer")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"optimizer": "sgd", "momentum": 0.9}, ("SGD", {"momentum": 0.9, "weight_decay": None})),
        ({"optimizer": "adamw", "weight_decay": 0.01}, ("AdamW", {"weight_decay": 0.01, "beta_1": 0.9})),
        ({"optimizer": "adamw"}, ("AdamW", {"weight_decay": 0.0})),
        ({"optimizer": "rmsprop", "momentum": 0.5}, ("RMSprop", {"momentum": 0.5})),
        ({"optimizer": "nadam"}, ("Nadam", {"beta_1": 0.9})),
        ({"optimizer": "adagrad"}, ("Adagrad", {})),
        ({"schedule": "one_cycle"}, ("Adam", {"beta_1": 0.7, "beta_2": 0.9, "weight_decay": None})),
    ],
)
def test_it_is_keras_own_with_what_was_given(given: dict[str, Any], wanted: tuple[str, dict[str, Any]]) -> None:
    made = optimizer.make_optimizer(make_config(model="simple", learning_rate=0.25, **given), 100)
    assert type(made).__name__ == wanted[0]
    assert {name: getattr(made, name) for name in wanted[1]} == wanted[1]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    # by hand: half a cosine; a straight line from 1/25 over the first fifth, then half a cosine
    [
        ("constant", [0.5, 0.5, 0.5]),
        ("cosine", [0.5, 0.25, 0.0]),
        ("one_cycle", [0.02, 0.5 * (1 + np.cos(np.pi * 3 / 8)) / 2, 0]),
    ],
)
def test_the_learning_rate_over_time(schedule: str, rates: list[float]) -> None:
    made = optimizer.make_optimizer(make_config(model="simple", learning_rate=0.5, schedule=schedule), 100)
    found = []
    for step in 0, 50, 100:
        made.iterations.assign(step)
        found.append(float(made.learning_rate))
    np.testing.assert_allclose(found, rates, atol=1e-6)
