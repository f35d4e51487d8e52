from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from mnist_utils import ConfigError
from mnist_utils.data.datasets import load_dataset
from mnist_utils.evaluation import label_errors
from mnist_utils.training.config import make_config


def test_planted_label_errors_are_ranked_first() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 60)
    logits = random.normal(0, 1, (600, 10))
    logits[np.arange(600), labels] += 8
    planted = random.choice(600, 20, replace=False)
    given_labels = labels.copy()
    given_labels[planted] = (labels[planted] + 3) % 10
    found = label_errors.rank_doubtful_labels(softmax(logits, axis=1).astype(np.float32), given_labels.astype(np.uint8))
    assert set(found[:20]) == set(planted)
    assert sorted(found) == list(range(600))


def test_recall_at_k_by_hand() -> None:
    found = label_errors.recall_at_k(np.array([4, 2, 0, 1, 3]), [4, 1], (1, 2, 4, 99))
    assert found["top"].tolist() == [1, 2, 4, 5]
    assert found["found"].tolist() == [1, 1, 2, 2]
    assert found["by_chance"].tolist() == pytest.approx([0.4, 0.8, 1.6, 2])


def test_recall_at_k_without_known_errors() -> None:
    assert label_errors.recall_at_k(np.arange(5), [], (2,))["found"].tolist() == [0]


def test_corrected_labels() -> None:
    labels = np.full(10_000, 7, np.uint8)
    better, agreed = label_errors.correct_labels(labels)
    assert np.flatnonzero(better != 7).tolist() == [947, 1621, 1901, 2462, 2597, 3558, 5937, 6651, 6783, 9729]
    assert better[[947, 2462, 9729]].tolist() == [9, 0, 6]
    assert np.flatnonzero(~agreed).tolist() == [2130, 2654, 3520, 8527, 9679]
    assert (labels == 7).all()


def test_a_single_fold_is_an_error() -> None:
    with pytest.raises(ConfigError, match="folds: given 1; allowed: 2"):
        label_errors.cross_validated_probabilities(make_config(dataset="digits"), load_dataset("digits"), 1)


def test_cross_validation_predicts_each_image_with_a_model_not_trained_on_it() -> None:
    dataset = load_dataset("digits")
    labels = dataset.y_train.copy()
    planted = np.arange(0, len(labels), 40)
    dataset.y_train[planted] = (labels[planted] + 5) % 10  # a model trained on them would learn them by heart
    config = make_config(dataset="digits", epochs=10, batch_size=64)
    found = label_errors.cross_validated_probabilities(config, dataset, 2, progress=False)
    assert found.shape == (len(labels), 10)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(labels)), abs=1e-4)
    assert (found.argmax(axis=1)[planted] == labels[planted]).mean() > 0.7
    doubtful = label_errors.rank_doubtful_labels(found, dataset.y_train)
    assert len(set(doubtful[: len(planted)]) & set(planted)) > 0.7 * len(planted)
