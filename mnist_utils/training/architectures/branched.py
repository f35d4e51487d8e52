"""The network of the earlier "training and inference", 25.9 million parameters: two parallel branches."""

import keras
from keras import layers

recipe = {"epochs": 10, "batch_size": 32, "learning_rate": 1e-3, "conv_dropout": 0.25, "dense_dropout": 0.5}


def network(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Take images of (28, 28, 1) values 0 to 255; return a probability for each class."""

    def norm_relu_drop(x: keras.KerasTensor, dropout: float) -> keras.KerasTensor:
        return layers.Dropout(dropout)(layers.ReLU()(layers.BatchNormalization()(x)))

    inputs = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255, offset=-0.5)(inputs)
    x = layers.MaxPooling2D()(norm_relu_drop(layers.Conv2D(32, 3, padding="same")(x), conv_dropout))
    branches = []
    for _ in range(2):
        branch = layers.MaxPooling2D()(norm_relu_drop(layers.Conv2D(64, 3, padding="same")(x), conv_dropout))
        branches.append(norm_relu_drop(layers.Conv2D(256, 3, padding="same")(branch), conv_dropout))
    x = layers.Flatten()(layers.Dropout(conv_dropout)(layers.Concatenate()(branches)))
    for units in 1000, 500:
        x = norm_relu_drop(layers.Dense(units)(x), dense_dropout)
    return keras.Model(inputs, layers.Dense(classes, "softmax", dtype="float32", name="probabilities")(x), name="branched")
