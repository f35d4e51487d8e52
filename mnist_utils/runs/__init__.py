"""The run's folder: recorded whole, read back, asked, compared, exported."""
