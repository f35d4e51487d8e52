"""The network of the earlier "dockerised CNN", 1,386,506 parameters; the original had no dropout."""

import keras
from keras import layers

recipe = {"epochs": 13, "batch_size": 128, "learning_rate": 1e-3}


def network(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Take images of (28, 28, 1) values 0 to 255; return a probability for each class."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(conv_dropout),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(dense_dropout),
            layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities"),
        ],
        name="simple",
    )
