"""Numbers -> figures. Each function takes `ax=None` or `figure=None`, draws, and returns it; it computes nothing.

Usage: ``from mnist_utils import plots``, then ``plots.confusion_matrix(...)``.
"""

from mnist_utils.plots.calibration import (
    confidence_histogram,
    coverage_of_sets,
    reliability_before_after,
    reliability_diagram,
    risk_coverage_curve,
)
from mnist_utils.plots.data import (
    class_balance,
    class_means,
    digit_map,
    nearest_distances,
    pixel_use,
    values_by_digit,
)
from mnist_utils.plots.errors import (
    attribution_rows,
    class_scores,
    confused_pairs_bars,
    confusion_matrices,
    confusion_matrix,
    digit_bars,
    flip_norms,
)
from mnist_utils.plots.images import (
    digit_boxes,
    image_grid,
    image_pairs,
    image_rows,
    picture_and_prediction,
    preprocessing_steps,
)
from mnist_utils.plots.intervals import attack_curves, ood_areas, slice_error_rates
from mnist_utils.plots.robustness import confidence_and_accuracy, robustness_dots, severity_curves
from mnist_utils.plots.shares import class_logits, contrast_curves, share_dots
from mnist_utils.plots.training import (
    accuracy_curves,
    latencies,
    learning_curve,
    loss_curves,
    paired_comparison,
    paired_interval,
    paired_values,
    power_curves,
    training_curves,
)

__all__ = [
    "accuracy_curves",
    "attack_curves",
    "attribution_rows",
    "class_balance",
    "class_logits",
    "class_means",
    "class_scores",
    "confidence_and_accuracy",
    "confidence_histogram",
    "confused_pairs_bars",
    "confusion_matrices",
    "confusion_matrix",
    "contrast_curves",
    "coverage_of_sets",
    "digit_bars",
    "digit_boxes",
    "digit_map",
    "flip_norms",
    "image_grid",
    "image_pairs",
    "image_rows",
    "latencies",
    "learning_curve",
    "loss_curves",
    "nearest_distances",
    "ood_areas",
    "paired_comparison",
    "paired_interval",
    "paired_values",
    "picture_and_prediction",
    "pixel_use",
    "power_curves",
    "preprocessing_steps",
    "reliability_before_after",
    "reliability_diagram",
    "risk_coverage_curve",
    "robustness_dots",
    "severity_curves",
    "share_dots",
    "slice_error_rates",
    "training_curves",
    "values_by_digit",
]
