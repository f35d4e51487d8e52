"""Config and data set -> a trained Keras model."""

CHECKPOINT = "checkpoint.npz"  # in a run's folder, while its training is not finished
