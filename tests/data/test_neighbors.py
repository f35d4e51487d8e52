from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from mnist_utils.data import exploration, neighbors
from mnist_utils.data.datasets import Dataset, load_dataset
from tests.data.test_exploration import bar


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


# --- duplicates -------------------------------------------------------------------------------------------


def test_exact_duplicates_are_counted_by_part_and_label() -> None:
    a, b, c = (bar(width) for width in (2, 3, 4))
    data = Dataset(
        "mnist",
        np.stack([a, a, a, b]),
        np.array([1, 1, 7, 2], np.uint8),
        np.stack([c, c]),
        np.array([3, 3], np.uint8),
        np.stack([a, c]),
        np.array([1, 4], np.uint8),
        "",
        "",
    )
    found = neighbors.exact_duplicates(data)
    expected = pd.DataFrame(
        [
            ("training", "training", 3, 2),
            ("training", "validation", 0, 0),
            ("training", "test", 3, 1),
            ("validation", "validation", 1, 0),
            ("validation", "test", 2, 2),
            ("test", "test", 0, 0),
        ],
        columns=found.columns,
    )
    pd.testing.assert_frame_equal(found, expected)


def test_nearest_agrees_with_comparing_everything(digits: Dataset) -> None:
    queries, references = digits.x_train, digits.x_test  # more queries than are compared at once
    distance, index = neighbors.nearest_neighbors(queries, references)
    all_of_them = cdist(queries.reshape(-1, 784) / 255, references.reshape(-1, 784) / 255)
    np.testing.assert_allclose(distance, all_of_them.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(index, all_of_them.argmin(axis=1))


def test_nearest_does_not_depend_on_the_projection_being_good() -> None:
    """In noise, all directions vary alike: a hundred explain little, and nearly all references must be compared."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 28, 28), dtype=np.uint8)
    distance, index = neighbors.nearest_neighbors(images[:50], images, exclude=np.arange(50))
    all_of_them = cdist(images[:50].reshape(50, -1) / 255, images.reshape(400, -1) / 255)
    np.fill_diagonal(all_of_them, np.inf)
    np.testing.assert_array_equal(index, all_of_them.argmin(axis=1))
    np.testing.assert_allclose(distance, all_of_them.min(axis=1), rtol=1e-12)


def test_an_image_is_not_its_own_neighbour_but_its_copy_is(digits: Dataset) -> None:
    references = digits.x_train[:200].copy()
    references[150] = references[3]
    distance, index = neighbors.nearest_neighbors(references[[3, 3]], references, exclude=np.array([3, -1]))
    assert distance.tolist() == [0, 0]
    assert index.tolist() == [150, 3]


# --- odd images, and a map --------------------------------------------------------------------------------


def test_every_part_is_compared_with_the_other_training_images(digits: Dataset) -> None:
    near = neighbors.nearest_in_training(digits, seed=1)
    sizes = {"training": len(digits.x_validation), "validation": len(digits.x_validation), "test": len(digits.x_test)}
    assert near["part"].value_counts().to_dict() == sizes
    known = digits.x_train.reshape(len(digits.x_train), -1) / 255
    for part, (images, labels) in exploration.dataset_parts(digits).items():
        rows = near[near["part"] == part]
        distances = cdist(images[rows["index"]].reshape(len(rows), -1) / 255, known)
        if part == "training":
            distances[np.arange(len(rows)), rows["index"]] = np.inf
        np.testing.assert_allclose(rows["distance"], distances.min(axis=1), atol=1e-9)
        np.testing.assert_array_equal(rows["label"], labels[rows["index"]])
        np.testing.assert_array_equal(rows["same_label"], digits.y_train[rows["neighbour"]] == rows["label"])


def test_an_image_with_an_incorrect_label_is_atypical_of_it(digits: Dataset) -> None:
    labels = digits.y_train.copy()
    mislabelled = int(np.flatnonzero(labels == 0)[0])
    labels[mislabelled] = 1
    found = neighbors.most_atypical(digits.x_train, labels, 3)
    assert mislabelled in found[1]
    assert [len(rows) for rows in found] == [3] * 10
    assert all((labels[rows] == digit).all() for digit, rows in enumerate(found))


def test_explained_variance_agrees_with_the_singular_values(digits: Dataset) -> None:
    flat = digits.x_train[:400].reshape(400, -1) / 255
    singular = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    found = neighbors.explained_variance(digits.x_train[:400])
    np.testing.assert_allclose(found[:399], np.cumsum(singular)[:399] / singular.sum(), rtol=1e-4)


def test_the_maps_keep_digits_together(digits: Dataset) -> None:
    index = exploration.sample_per_class(digits.y_train, 20)
    images, labels = digits.x_train[index], digits.y_train[index]
    points, explained = neighbors.embed_2d(images, "pca"), neighbors.explained_variance(images)[1]
    centred = images.reshape(200, -1) / 255 - (images.reshape(200, -1) / 255).mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert explained == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum(), rel=1e-4)
    assert points.std(axis=0, ddof=0) == pytest.approx(singular[:2] / np.sqrt(200), rel=1e-4)
    tsne = neighbors.embed_2d(images, "tsne", seed=0)
    assert tsne.shape == (200, 2)
    assert neighbors.nearest_label_agreement(tsne, labels) > 0.85 > neighbors.nearest_label_agreement(points, labels)


def test_agreement_counts_the_nearest_other_point() -> None:
    points = np.array([[0.0, 0], [1, 0], [10, 0], [12, 0]])
    assert neighbors.nearest_label_agreement(points, np.array([1, 1, 2, 3], np.uint8)) == 0.5


def two_clouds() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    images = np.zeros((80, 28, 28))
    images[labels == 1, 10:20] = 200
    return images + random.uniform(0, 20, images.shape), labels


def test_an_unknown_method_is_rejected() -> None:
    with pytest.raises(ValueError, match="given 'umap'; allowed: pca, tsne"):
        neighbors.embed_2d(two_clouds()[0], "umap")  # type: ignore[arg-type]


def test_an_image_among_others_has_no_neighbour_of_its_label() -> None:
    images, labels = two_clouds()
    labels[0] = 1
    same = neighbors.same_label_neighbors(images, labels, k=10)
    assert same[0] == 0
    assert (same[labels == 1][1:] == 1).all()
