"""Keras callbacks of the caller's: called as `fit` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from mnist_utils.training.backend import keras
from mnist_utils.training.config import TrainConfig


class EpochCallbacks:
    """Calls callbacks as Keras's `fit` would; a context from the training's beginning to its end.

    Attributes
    ----------
    steps : int
        Of an epoch.
    """

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, config: TrainConfig, steps: int
    ) -> None:
        self.steps = steps
        self._model = model
        self._list = (
            keras.callbacks.CallbackList(list(callbacks), model=model, epochs=config.epochs, steps=steps)
            if callbacks
            else None
        )

    def __enter__(self) -> Self:
        self._model.stop_training = False
        if self._list:
            self._list.on_train_begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._list and kind is None:
            self._list.on_train_end()

    def begin(self, epoch: int) -> None:
        """Announce an epoch, from 0, and its first step."""
        if self._list:
            self._list.on_epoch_begin(epoch)
            self._list.on_train_batch_begin(0)

    def stepped(self, done: int, logs: dict[str, float]) -> bool:
        """Announce the last of `done` steps of the epoch; say whether the training shall stop."""
        if self._list:
            self._list.on_train_batch_end(done - 1, logs)
            if done < self.steps and not self._model.stop_training:
                self._list.on_train_batch_begin(done)
        return bool(self._model.stop_training)

    def end(self, epoch: int, row: dict[str, Any]) -> bool:
        """Announce the end of an epoch with its accuracies and losses; say whether the training shall stop."""
        if self._list:
            self._list.on_epoch_end(epoch, {name: value for name, value in row.items() if name not in ("epoch", "seconds")})
        return bool(self._model.stop_training)
