"""Out-of-distribution detection: how well a score separates digits from other images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp
from scipy.stats import norm, rankdata

Scores = Mapping[str, NDArray[np.floating]]


def ood_scores(
    logits: NDArray[np.floating],
    features: NDArray[np.floating] | None = None,
    known: NDArray[np.floating] | None = None,
    k: int = 5,
) -> dict[str, NDArray[np.float64]]:
    """Compute scores that are to be high for digits and low for out-of-distribution images.

    No score is the best for all models. The softmax ignores a number that is added to all logits of an image, so training
    does not fix it, but the energy and the largest logit contain it. A model trained with images of no digit (``--augment
    pictures``) may lower all logits of a digit together: in the run `reference` their mean is -15 for digits, -5 for
    photographs and noise, -2 for letters, and the energy's AUROC is 1 to 6 %: it ranks them the wrong way round. Centred
    logits, less their mean, do not contain that number, and their energy has 99.5 % or more. For a model that never saw such
    images, centring may harm: with label smoothing, noise fell from 89 to 8 % in a short training.

    Parameters
    ----------
    logits : float array, shape (n, classes)
        See `attribution.model_logits`.
    features, known : float arrays, shapes (n, units) and (m, units), m >= k, optional
        The images' and the training images' `attribution.penultimate_features`.
    k : int
        Whose similarity counts: that of the k-th nearest training image. More training images need a larger one: to the run
        `reference`, five of MNIST's 54,000 are as unlike digits as all letters are. With all 54,000 and k = 5 its AUROC for
        letters is 59 %; with 10,000 of them, or k = 20, 99.9 %.

    Returns
    -------
    dict of float64 arrays, shape (n,)
        ``confidence`` (the largest probability), ``energy`` (log-sum-exp of the logits: the negative of the paper's energy),
        ``largest logit``, ``energy, centred``; with features ``similarity`` (the negative distance, -2 to 0).

    References
    ----------
    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples. ICLR.
    Liu, Wang, Owens, Li (2020), Energy-based out-of-distribution detection. NeurIPS.
    Hendrycks et al. (2022), Scaling out-of-distribution detection for real-world settings. ICML: the largest logit.
    Sun, Ming, Zhu, Li (2022), Out-of-distribution detection with deep nearest neighbors. ICML.
    """
    exact = logits.astype(np.float64)
    energy, largest = logsumexp(exact, axis=1), exact.max(axis=1)
    scores = {
        "confidence": np.exp(largest - energy),
        "energy": energy,
        "largest logit": largest,
        "energy, centred": energy - exact.mean(axis=1),
    }
    if features is not None and known is not None:
        from sklearn.neighbors import NearestNeighbors

        nearest = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known)
        scores["similarity"] = -nearest.kneighbors(features)[0][:, -1].astype(np.float64)
    return scores


def compare_ood_scores(known: Scores, others: Mapping[str, Scores]) -> pd.DataFrame:
    """Measure how well each of several scores separates digits from out-of-distribution images.

    Parameters
    ----------
    known : mapping of float arrays, shape (n,)
        Digits' scores by name, see `ood_scores`.
    others : mapping of such mappings
        Those of out-of-distribution images, by kind.

    Returns
    -------
    DataFrame
        A row per score and kind (index: score, kind); columns of `ood_separation`.
    """
    tables = {
        name: ood_separation(scores, {kind: found[name] for kind, found in others.items()}) for name, scores in known.items()
    }
    return pd.concat(tables, names=["score"])


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
        scores count half; 0.5 is chance), low, high (its 95 % interval, see `auroc_interval`), accepted (the share of such
        images that score at least as high as 95 % of the digits). The interval assumes independent images, which pieces of
        two photographs are not quite.

    References
    ----------
    Hendrycks and Gimpel (2017), A baseline for detecting misclassified and out-of-distribution examples. ICLR.
    """
    threshold = np.quantile(known, 0.05)
    rows = []
    for kind, scores in others.items():
        area, low, high = auroc_interval(known, scores)
        accepted = float((scores >= threshold).mean())
        rows.append({"kind": kind, "n": len(scores), "auroc": area, "low": low, "high": high, "accepted": accepted})
    return pd.DataFrame(rows).set_index("kind")


def auroc_interval(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the area under the ROC curve of a score, and its 95 % interval.

    The variance is DeLong's, from the ranks, and the interval is symmetric on the scale of logits: near 1, one that is
    symmetric around the area covers the true area in less than 90 of 100 samples, this one in 93 to 95.

    Parameters
    ----------
    positive, negative : float arrays, shapes (m,) and (n,)
        Scores of images that should score high, and low.

    Returns
    -------
    area, low, high : float, 0 to 1
        If the score separates the samples completely, the interval is as wide as the rule of three says for the smaller of
        them: 3 / min(m, n). If one of them has a single image, it is the same wide.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Comparing the areas under two or more correlated ROC curves. Biometrics 44.
    Sun and Xu (2014), Fast implementation of DeLong's algorithm. IEEE Signal Processing Letters 21: by ranks.
    """
    m, n = len(positive), len(negative)
    together = rankdata(np.concatenate([positive, negative]))
    below = (together[:m] - rankdata(positive)) / n  # of each positive: the share of negatives that it exceeds
    above = 1 - (together[m:] - rankdata(negative)) / m
    area = float(below.mean())
    variance = float(below.var(ddof=1) / m + above.var(ddof=1) / n) if min(m, n) > 1 else 0.0
    if variance == 0 or not 0 < area < 1:
        return area, max(0.0, area - 3 / min(m, n)), min(1.0, area + 3 / min(m, n))
    half = norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    low, high = expit(logit(area) + half * np.array([-1, 1]))
    return area, float(low), float(high)
