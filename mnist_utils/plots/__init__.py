"""Numbers -> figures. Each function takes `ax=None`, draws, and returns the Axes; computing is done elsewhere.

All figures are here: ``from mnist_utils import plots``, then ``plots.confusion_matrix(...)``.
"""

from mnist_utils.plots.calibration import confidence_histogram, reliability_before_after, reliability_diagram, risk_coverage
from mnist_utils.plots.data import by_digit, class_balance, class_means, digit_map, image_map, neighbour_distances, pixel_use
from mnist_utils.plots.errors import (
    class_scores,
    confused_pairs,
    confusion_matrices,
    confusion_matrix,
    digit_bars,
    explanations,
    robustness,
    shares,
)
from mnist_utils.plots.images import image_grid, image_rows, pairs, picture_and_answer, reading_steps
from mnist_utils.plots.training import (
    accuracy_curves,
    latencies,
    loss_curves,
    paired_effect,
    paired_interval,
    paired_values,
    training_curves,
)

__all__ = [
    "accuracy_curves",
    "by_digit",
    "class_balance",
    "class_means",
    "class_scores",
    "confidence_histogram",
    "confused_pairs",
    "confusion_matrices",
    "confusion_matrix",
    "digit_bars",
    "digit_map",
    "explanations",
    "image_grid",
    "image_map",
    "image_rows",
    "latencies",
    "loss_curves",
    "neighbour_distances",
    "paired_effect",
    "paired_interval",
    "paired_values",
    "pairs",
    "picture_and_answer",
    "pixel_use",
    "reading_steps",
    "reliability_before_after",
    "reliability_diagram",
    "risk_coverage",
    "robustness",
    "shares",
    "training_curves",
]
