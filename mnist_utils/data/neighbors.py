"""Similar images: duplicates, nearest neighbours, atypical images, maps in the plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, combinations_with_replacement
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from mnist_utils._support.arrays import Floats, Images, Indices, Labels
from mnist_utils.data.datasets import Dataset
from mnist_utils.data.exploration import dataset_parts


def same_label_neighbors(images: NDArray[Any], labels: NDArray[Any], k: int = 10) -> NDArray[np.float64]:
    """Return for each image the share of its `k` nearest neighbours that have its label.

    Distances are in the space of the first 50 principal components, which keep most of the variance.

    Parameters
    ----------
    images : array, shape (n, height, width), n > k
    labels : integer array, shape (n,)

    Returns
    -------
    float array, shape (n,), 0 to 1
    """
    nearest = NearestNeighbors(n_neighbors=k).fit(_principal_components(images, 50)).kneighbors(return_distance=False)
    return np.asarray((labels[nearest] == labels[:, None]).mean(axis=1))


_CHUNK = 500  # queries compared with all references at once: 100 MB for MNIST
# Decomposing small matrices gains nothing from threads, and on shared cores they wait for each other: with two threads,
# the functions marked so took five times as long as with one.
_F = TypeVar("_F", bound=Callable[..., Any])
_one_thread: Callable[[_F], _F] = threadpool_limits.wrap(limits=1)


def exact_duplicates(dataset: Dataset) -> pd.DataFrame:
    """Count the pairs of images that are equal in every pixel, within and between the parts.

    Returns
    -------
    DataFrame with the columns first, second (parts), pairs, and ``labels differ``: the pairs with different labels
    """
    seen: dict[bytes, list[tuple[str, int]]] = {}
    for name, (images, labels) in dataset_parts(dataset).items():
        for image, label in zip(images, labels, strict=True):
            seen.setdefault(image.tobytes(), []).append((name, int(label)))
    found, conflicts = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for copies in seen.values():
        for (first, label), (second, other) in combinations(copies, 2):
            found[first, second] += 1
            conflicts[first, second] += label != other
    table = [(*pair, found[pair], conflicts[pair]) for pair in combinations_with_replacement(dataset_parts(dataset), 2)]
    return pd.DataFrame(table, columns=["first", "second", "pairs", "labels differ"])


@_one_thread
def nearest_neighbors(queries: Images, references: Images, *, exclude: Indices | None = None) -> tuple[Floats, Indices]:
    """Find each query's nearest reference by Euclidean distance between pixels.

    The search is exact. Distances in a projection on 100 orthonormal directions (principal components) are never larger
    than the true ones, so only references that are nearer there than the best candidate need a full comparison.

    Parameters
    ----------
    queries, references : uint8 arrays, shapes (n, 28, 28) and (m, 28, 28)
    exclude : integer array, shape (n,), optional
        For queries taken from `references`, their indices there, otherwise -1: an image is not its own neighbour.

    Returns
    -------
    distance : float array, shape (n,)
        For pixels from 0 to 1: a distance d equals changing d**2 pixels from black to white.
    index : integer array, shape (n,)
        The neighbour's index in `references`; the lowest of equally near ones.
    """
    flat, wanted = references.reshape(len(references), -1), queries.reshape(len(queries), -1)
    some = flat[:: max(1, len(flat) // 5000)].astype(np.float32)
    projection = PCA(min(100, len(some) - 1), svd_solver="covariance_eigh").fit(some)
    there = _project(projection, flat)
    squares = np.einsum("ij,ij->i", there, there)
    distance, index = np.empty(len(queries)), np.empty(len(queries), np.intp)
    for start in range(0, len(queries), _CHUNK):
        chunk = wanted[start : start + _CHUNK].astype(np.int32)
        here = _project(projection, chunk)
        # Squared distance in the projection, by one matrix product.
        bound = here @ there.T
        bound *= -2
        bound += squares
        bound += np.einsum("ij,ij->i", here, here)[:, None]
        if exclude is not None:
            mine = exclude[start : start + _CHUNK]
            bound[np.flatnonzero(mine >= 0), mine[mine >= 0]] = np.inf
        likely = bound.argmin(axis=1)
        best = ((chunk - flat[likely]) ** 2).sum(axis=1)
        # float32 holds squares of a few million to within one or two; the rest of the margin costs nothing.
        row, candidate = np.nonzero(bound <= (best + 1e-4 * best + 50)[:, None].astype(np.float32))
        exact = np.concatenate(
            [
                ((chunk[row[i : i + 20_000]] - flat[candidate[i : i + 20_000]]) ** 2).sum(axis=1)
                for i in range(0, len(row), 20_000)
            ]
        )
        order = np.lexsort((candidate, exact, row))
        first = order[np.unique(row[order], return_index=True)[1]]
        distance[start : start + _CHUNK] = np.sqrt(exact[first]) / 255
        index[start : start + _CHUNK] = candidate[first]
    return distance, index


def _project(projection: Any, flat: NDArray[Any]) -> Floats:
    return projection.transform(flat.astype(np.float32)).astype(np.float32)


def nearest_in_training(dataset: Dataset, *, seed: int = 0) -> pd.DataFrame:
    """Find the nearest training image of every validation and test image, and of as many other training images.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        Of the choice of training images: as many as there are validation images.

    Returns
    -------
    DataFrame, a row for each image
        part; index, of the image in its part; distance, see `nearest_neighbors`; neighbour, an index into the training
        images; label; same_label, whether the neighbour has it, too.
    """
    sample = np.sort(np.random.default_rng(seed).permutation(len(dataset.x_train))[: len(dataset.x_validation)])
    tables = []
    for part, (images, labels) in dataset_parts(dataset).items():
        index = sample if part == "training" else np.arange(len(images))
        excluded = index if part == "training" else None
        distance, neighbour = nearest_neighbors(images[index], dataset.x_train, exclude=excluded)
        columns = {"index": index, "distance": distance, "neighbour": neighbour, "label": labels[index]}
        same = dataset.y_train[neighbour] == labels[index]
        tables.append(pd.DataFrame({"part": part, **columns, "same_label": same}))
    return pd.concat(tables, ignore_index=True)


@_one_thread
def most_atypical(images: Images, labels: Labels, count: int, *, components: int = 30) -> list[Indices]:
    """Find the images of each digit that are least like the others of that digit.

    For each digit, a probabilistic principal component analysis is fitted: a normal distribution whose first
    `components` directions (at most one per twenty images) have their own variances and all others a common one.
    The images with the lowest likelihood come first.

    Returns
    -------
    list of integer arrays
        For each class that occurs, the indices into `images` of its `count` most atypical ones, the least likely first.

    References
    ----------
    Tipping, Bishop (1999): Probabilistic principal component analysis. Journal of the Royal Statistical Society B 61(3).
    """
    found = []
    for digit in np.unique(labels):
        members = np.flatnonzero(labels == digit)
        pixels = images[members].reshape(len(members), -1).astype(np.float64) / 255
        # With few images per component, the oddest image would get its own component, and so be likely.
        model = PCA(min(components, max(len(members) // 20, 1)), svd_solver="covariance_eigh").fit(pixels)
        found.append(members[np.argsort(model.score_samples(pixels), kind="stable")[:count]])
    return found


@_one_thread
def explained_variance(images: Images) -> Floats:
    """Return the cumulative share, 0 to 1, of the pixels' variance that the principal components explain."""
    return np.cumsum(PCA(svd_solver="covariance_eigh").fit(_pixels(images)).explained_variance_ratio_)


@_one_thread
def embed_2d(images: Images, method: Literal["pca", "tsne"], *, seed: int = 0) -> Floats:
    """Embed images in the plane so that similar ones are close together.

    Parameters
    ----------
    images : uint8 array, shape (n, 28, 28)
    method : {"pca", "tsne"}
        ``pca``: the two directions along which the pixels vary most. ``tsne``: keeps neighbours together; large
        distances mean nothing.
    seed : int

    Returns
    -------
    float array, shape (n, 2)

    References
    ----------
    van der Maaten and Hinton (2008), Visualizing data using t-SNE. JMLR 9.
    """
    if method == "pca":
        return _principal_components(images, 2)
    if method != "tsne":
        raise ValueError(f"method: given {method!r}; allowed: pca, tsne")
    perplexity = min(30, (len(images) - 1) / 3)
    return TSNE(perplexity=perplexity, max_iter=500, random_state=seed).fit_transform(_principal_components(images, 50))


def nearest_label_agreement(points: Floats, labels: Labels) -> float:
    """Return the share (0 to 1) of points, shape (n, 2), whose nearest other point has the same label."""
    _, neighbour = KDTree(points).query(points, k=2)
    return float((labels[neighbour[:, 1]] == labels).mean())


def _principal_components(images: Images, components: int) -> Floats:
    pixels = _pixels(images)
    return PCA(min(components, len(pixels) - 1), svd_solver="covariance_eigh").fit_transform(pixels)


def _pixels(images: Images) -> Floats:
    return images.reshape(len(images), -1).astype(np.float32) / 255
