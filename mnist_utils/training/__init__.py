"""Configuration and data set -> a trained Keras model."""

CHECKPOINT = "checkpoint.npz"  # in a run's folder until its training is complete
