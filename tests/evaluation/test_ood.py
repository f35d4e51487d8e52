from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import euclidean_distances

from mnist_utils.data import synthetic
from mnist_utils.evaluation import ood


def test_each_kind_shows_no_digit_and_follows_from_the_seed() -> None:
    made, again, other = (
        synthetic.out_of_distribution_images(60, 1),
        synthetic.out_of_distribution_images(60, 1),
        synthetic.out_of_distribution_images(60, 2),
    )
    assert list(made) == ["letters", "photographs", "noise", "blank"]
    for kind, images in made.items():
        assert images.shape == (60, 28, 28)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, again[kind])
        assert (images != other[kind]).any()
    assert (np.ptp(made["blank"], axis=(1, 2)) == 0).all()
    assert len(np.unique(synthetic.out_of_distribution_images(300, 1)["blank"], axis=0)) == 256  # none twice
    assert made["noise"].mean() == pytest.approx(127.5, abs=2)
    ink = made["letters"] > 0
    assert (ink.any(axis=(1, 2))).all()
    assert len(np.unique(made["letters"], axis=0)) == 60
    assert 0.05 < ink.mean() < 0.4
    assert made["photographs"].std(axis=(1, 2)).mean() > 10


def test_clothes_if_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clothes = np.arange(50, dtype=np.uint8)[:, None, None] + np.zeros((1, 28, 28), np.uint8)
    monkeypatch.setattr(synthetic, "find_copy", lambda name: str(tmp_path / name))
    monkeypatch.setattr(synthetic, "load_dataset", lambda name: type("D", (), {"x_test": clothes, "name": name}))
    made = synthetic.out_of_distribution_images(20)["clothes"]
    assert len({int(image[0, 0]) for image in made}) == 20


def test_scores_by_hand() -> None:
    logits = np.log([[1.0, 3.0, 4.0], [5.0, 5.0, 5.0]])
    found = ood.ood_scores(logits)
    assert found["confidence"].tolist() == pytest.approx([0.5, 1 / 3])
    assert found["energy"].tolist() == pytest.approx(np.log([8, 15]))
    assert found["largest logit"].tolist() == pytest.approx(np.log([4, 5]))
    assert found["energy, centred"].tolist() == pytest.approx([np.log(8 / 12 ** (1 / 3)), np.log(3)])
    assert set(found) == {"confidence", "energy", "largest logit", "energy, centred"}


def test_only_energy_and_largest_logit_change_with_what_the_softmax_ignores() -> None:
    random = np.random.default_rng(0)
    logits, added = random.normal(0, 2, (50, 10)), random.normal(0, 5, (50, 1))
    before, after = ood.ood_scores(logits), ood.ood_scores(logits + added)
    for name in "confidence", "energy, centred":
        np.testing.assert_allclose(before[name], after[name])
    for name in "energy", "largest logit":
        np.testing.assert_allclose(before[name] + added[:, 0], after[name])


def test_similarity_is_to_the_kth_nearest() -> None:
    random = np.random.default_rng(0)
    known, queries = random.normal(size=(30, 4)), random.normal(size=(6, 4))
    wanted = -np.sort(euclidean_distances(queries, known), axis=1)[:, 2]
    np.testing.assert_allclose(ood.ood_scores(np.zeros((6, 10)), queries, known, k=3)["similarity"], wanted)


def test_scores_are_compared_kind_by_kind() -> None:
    random = np.random.default_rng(0)
    known = {"one": random.normal(2, 1, 60), "other": random.normal(1, 1, 60)}
    others = {kind: {name: random.normal(0, 1, 40) for name in known} for kind in ("noise", "letters")}
    found = ood.compare_ood_scores(known, others)
    assert found.index.tolist() == [(name, kind) for name in known for kind in others]
    assert list(found.index.names) == ["score", "kind"]
    wanted = mannwhitneyu(known["other"], others["noise"]["other"]).statistic / (60 * 40)
    assert found.loc[("other", "noise"), "auroc"] == pytest.approx(wanted)


def test_separation_agrees_with_other_methods() -> None:
    random = np.random.default_rng(0)
    known, alike, unlike = random.normal(2, 1, 400), random.normal(2, 1, 300), random.normal(0, 1, 300)
    found = ood.ood_separation(known, {"alike": alike, "unlike": unlike, "apart": np.full(5, -99.0), "tied": known[:1]})
    rows = found.to_dict("index")
    for kind, scores in ("alike", alike), ("unlike", unlike):
        row = rows[kind]
        assert row["auroc"] == pytest.approx(mannwhitneyu(known, scores).statistic / (400 * 300))
        false_positives, true_positives, _ = roc_curve(np.repeat([1, 0], [400, 300]), np.concatenate([known, scores]))
        assert row["accepted"] == pytest.approx(false_positives[np.flatnonzero(true_positives >= 0.95)[0]], abs=0.02)
        assert row["low"] < row["auroc"] < row["high"]
    assert rows["alike"]["low"] < 0.5 < rows["alike"]["high"]
    assert rows["unlike"]["auroc"] == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.03)
    assert [rows["apart"][name] for name in ("auroc", "low", "high", "accepted")] == pytest.approx([1, 0.4, 1, 0])
    assert found["n"].tolist() == [300, 300, 5, 1]


def variance_by_pairs(positive: np.ndarray, negative: np.ndarray) -> float:
    """Compute DeLong's variance as it is defined: from each pair of a positive and a negative."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return float(wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative))


def test_the_interval_is_delongs_with_ties_too() -> None:
    random = np.random.default_rng(3)
    positive, negative = random.integers(3, 9, 70).astype(float), random.integers(0, 7, 40).astype(float)
    area, low, high = ood.auroc_interval(positive, negative)
    assert area == pytest.approx(mannwhitneyu(positive, negative).statistic / (70 * 40))
    on_logits = norm.ppf(0.975) * np.sqrt(variance_by_pairs(positive, negative)) / (area * (1 - area))
    assert logit([low, high]) == pytest.approx(logit(area) + on_logits * np.array([-1, 1]))


@pytest.mark.parametrize(("distance", "m", "n"), [(0.7, 80, 80), (2.5, 60, 500), (3.0, 400, 200)])
def test_the_interval_covers_the_truth_in_95_per_cent(distance: float, m: int, n: int) -> None:
    """See that it does so near 1, too, where Hanley and McNeil's covers 99 %, and an untransformed one 89 %."""
    random, truth = np.random.default_rng(0), norm.cdf(distance / np.sqrt(2))
    covered = 0
    for _ in range(600):
        _, low, high = ood.auroc_interval(random.normal(distance, 1, m), random.normal(0, 1, n))
        covered += low <= truth <= high
    assert 0.915 <= covered / 600 <= 0.975


def test_of_a_complete_separation_the_rule_of_three_is_told() -> None:
    assert ood.auroc_interval(np.arange(10.0) + 50, np.arange(30.0)) == pytest.approx((1, 0.7, 1))
    assert ood.auroc_interval(np.array([1.0]), np.array([0.0, 2.0])) == (0.5, 0.0, 1.0)
