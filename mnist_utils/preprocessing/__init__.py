"""Any picture -> the (28, 28) array that models take."""
