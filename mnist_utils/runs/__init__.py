"""The run's folder: recorded, read back, used to predict, compared, exported."""
