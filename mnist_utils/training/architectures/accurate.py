"""Six batch-normalised convolutions, two of them strided, 312,154 parameters; to be used with augmentation."""

import keras
from keras import layers

recipe = {
    "epochs": 20,
    "batch_size": 128,
    "learning_rate": 2e-2,
    "schedule": "one_cycle",
    "label_smoothing": 0.05,
    "augment": "erase",
}


def network(classes: int, conv_dropout: float, dense_dropout: float) -> keras.Model:
    """Take images of (28, 28, 1) values 0 to 255; return a probability for each class."""
    inputs = keras.Input((28, 28, 1), name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    for filters, strides in (16, 1), (32, 2), (64, 1), (64, 1), (96, 2), (96, 1):
        padding = "same" if strides == 2 else "valid"
        x = layers.Conv2D(filters, 3, strides=strides, padding=padding, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Dropout(conv_dropout)(x)
    x = layers.Dense(128, use_bias=False)(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(dense_dropout)(x)
    return keras.Model(inputs, layers.Dense(classes, "softmax", dtype="float32", name="probabilities")(x), name="accurate")
