from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_curve

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


def test_separation_interval_covers_the_truth_in_95_per_cent() -> None:
    truth, covered = norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        found = ood.ood_separation(random.normal(1, 1, 80), {"x": random.normal(0, 1, 80)})
        row = found.to_dict("index")["x"]
        covered += row["low"] <= truth <= row["high"]
    assert covered >= 89
