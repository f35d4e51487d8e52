"""A model whose logits are linear in the pixels, so that all explanations of it have a closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.lazy import lazy

if TYPE_CHECKING:
    import keras
else:
    keras = lazy("keras")


def linear_model() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """Return the model; its weights, shape (784, 10), for pixels from 0 to 1; and its bias, shape (10,)."""
    inputs = keras.Input((28, 28, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(flat))
    weights = np.random.default_rng(0).normal(0, 0.05, (784, 10)).astype(np.float32)
    bias = np.linspace(-0.2, 0.2, 10, dtype=np.float32)
    model.set_weights([weights, bias])
    return model, weights, bias
