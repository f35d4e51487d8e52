"""Out-of-distribution detection: how well a score separates digits from other images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm


def ood_separation(known: NDArray[np.floating], others: Mapping[str, NDArray[np.floating]]) -> pd.DataFrame:
    """Measure how well a score separates digits from out-of-distribution images.

    Parameters
    ----------
    known : float array, shape (n,)
        The scores of digits; a higher score means more certainly a digit.
    others : mapping of float arrays
        The scores of out-of-distribution images, by kind.

    Returns
    -------
    DataFrame
        A row per kind (index); columns n, auroc (the probability that a digit scores higher than such an image, where equal
        scores count half; 0.5 is chance), low, high (its 95 % interval), accepted (the share of such images that score at
        least as high as 95 % of the digits). The interval assumes independent images, which pieces of two photographs are
        not quite.

    References
    ----------
    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples. ICLR.
    Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic (ROC) curve.
    Radiology 143: the interval.
    """
    from sklearn.metrics import roc_auc_score

    threshold = np.quantile(known, 0.05)
    rows = []
    for kind, scores in others.items():
        is_known = np.repeat([1, 0], [len(known), len(scores)])
        area = float(roc_auc_score(is_known, np.concatenate([known, scores])))
        q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area) + (len(known) - 1) * (q1 - area**2) + (len(scores) - 1) * (q2 - area**2)
        half = float(norm.ppf(0.975)) * np.sqrt(max(variance, 0) / (len(known) * len(scores)))
        low, high = max(0.0, area - half), min(1.0, area + half)
        if area == 1:  # the formula would give no width; the rule of three gives one of 3 / n
            low = max(0.0, 1 - 3 / min(len(known), len(scores)))
        accepted = float((scores >= threshold).mean())
        rows.append({"kind": kind, "n": len(scores), "auroc": area, "low": low, "high": high, "accepted": accepted})
    return pd.DataFrame(rows).set_index("kind")
