"""Data sets, their splits, augmentation, corruptions, exploration."""
