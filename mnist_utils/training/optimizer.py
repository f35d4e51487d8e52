"""The optimiser and its learning rate over time, from a configuration."""

from __future__ import annotations

from typing import Any

from mnist_utils.training.backend import keras
from mnist_utils.training.config import TrainConfig


def make_optimizer(config: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """Make Keras's optimiser for a training of `steps` steps in all."""
    options: dict[str, Any] = {}
    if config.momentum:
        options["momentum"] = config.momentum
    if config.weight_decay:
        options["weight_decay"] = config.weight_decay
    elif config.optimizer == "adamw":
        options["weight_decay"] = 0.0  # the default here is 0, Keras's is 0.004
    if config.schedule == "one_cycle" and config.optimizer in ("adam", "adamw", "nadam"):
        # Adam's usual averages (over 10 and 1,000 steps) are too long for a run of a few hundred steps.
        options |= {"beta_1": 0.7, "beta_2": 0.9}
    kind = type(keras.optimizers.get(config.optimizer))  # Keras knows its optimisers by these names
    return kind(_learning_rate(config, steps), **options)


def _learning_rate(config: TrainConfig, steps: int) -> Any:
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    warm_up = max(1, steps // 5)
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 25, max(1, steps - warm_up), warmup_target=config.learning_rate, warmup_steps=warm_up
    )
