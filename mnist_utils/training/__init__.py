"""Config and data set -> a trained Keras model."""
