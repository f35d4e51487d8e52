"""Keras callbacks of the caller's: one training for them, though `fit` is called once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from mnist_utils.training.backend import keras
from mnist_utils.training.config import TrainConfig


class EpochCallbacks:
    """Calls callbacks as Keras's `fit` would for the complete training; a context from its beginning to its end."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, config: TrainConfig) -> None:
        self._model = model
        self._list = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=config.epochs) if callbacks else None

    def __enter__(self) -> Self:
        if self._list:
            self._list.on_train_begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._list and kind is None:
            self._list.on_train_end()

    def begin(self, epoch: int) -> None:
        """Announce an epoch, from 0."""
        if self._list:
            self._list.on_epoch_begin(epoch)

    def of_batches(self) -> list[keras.callbacks.Callback]:
        """Return what `fit` calls at each batch."""
        if not self._list:
            return []
        return [
            keras.callbacks.LambdaCallback(
                on_train_batch_begin=self._list.on_train_batch_begin, on_train_batch_end=self._list.on_train_batch_end
            )
        ]

    def end(self, epoch: int, row: dict[str, Any]) -> bool:
        """Announce the end of an epoch with its accuracies and losses; say whether the training shall stop."""
        if not self._list:
            return False
        self._model.stop_training = False
        self._list.on_epoch_end(epoch, {name: value for name, value in row.items() if name not in ("epoch", "seconds")})
        return bool(self._model.stop_training)
