"""What a data set holds: counts, pixels, strokes, duplicates, odd images, and a map of them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, combinations_with_replacement
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.morphology import skeletonize
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from mnist_utils.data import SOURCES, Dataset, Images, Labels

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

DIGITS = range(10)
_FINER = 4  # strokes are measured on an image with so many times as many rows and columns
_CHUNK = 500  # queries compared with all references at once: 100 MB for MNIST
# Decomposing small matrices gains nothing from threads, and on shared cores they wait for each other: with two, the
# functions that are marked so took five times as long as with one.
_F = TypeVar("_F", bound=Callable[..., Any])
_one_thread: Callable[[_F], _F] = threadpool_limits.wrap(limits=1)


def parts(dataset: Dataset) -> dict[str, tuple[Images, Labels]]:
    """Return images and labels of the three disjoint parts by name: training, validation, test."""
    return {
        "training": (dataset.x_train, dataset.y_train),
        "validation": (dataset.x_validation, dataset.y_validation),
        "test": (dataset.x_test, dataset.y_test),
    }


def files(dataset: Dataset) -> pd.DataFrame:
    """Return the published files of `dataset`: items and the checksum that each was compared with; none for ``digits``."""
    rows = []
    for part in SOURCES[dataset.name].parts if dataset.name in SOURCES else ():
        algorithm, _, packed = part.packed_hash.partition(":")
        what, value = (
            ("sha256 of the content", part.content_sha256) if part.content_sha256 else (f"{algorithm} of the .gz", packed)
        )
        rows.append({"file": part.file, "items": part.count, "checksum": what, "value": value})
    return pd.DataFrame(rows, columns=["file", "items", "checksum", "value"])


def class_counts(dataset: Dataset) -> pd.DataFrame:
    """Count the images of each digit (rows 0 to 9) in each part (columns)."""
    counts = {name: np.bincount(labels, minlength=10) for name, (_, labels) in parts(dataset).items()}
    return pd.DataFrame(counts, index=pd.Index(DIGITS, name="digit"))


def sample_per_class(labels: Labels, count: int, *, seed: int = 0) -> Indices:
    """Draw `count` images of each digit without repeats, fewer where there are fewer.

    Returns
    -------
    integer array, shape (at most 10 * count,)
        Positions in `labels`: first those of digit 0, then of digit 1, and so on.
    """
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == digit))[:count] for digit in DIGITS])


# --- pixels -----------------------------------------------------------------------------------------------


def class_mean_and_std(images: Images, labels: Labels) -> tuple[Floats, Floats]:
    """Return each digit's mean image and the standard deviation of each of its pixels.

    Returns
    -------
    two float arrays, each of shape (10, 28, 28), in grey levels, 0 to 255; NaN for a digit without images
    """
    both = [
        (images[labels == digit].mean(axis=0), images[labels == digit].std(axis=0))
        if (labels == digit).any()
        else (np.full((28, 28), np.nan),) * 2
        for digit in DIGITS
    ]
    return np.stack([mean for mean, _ in both]), np.stack([std for _, std in both])


def grey_levels(images: Images) -> NDArray[np.intp]:
    """Count how many pixels have each of the 256 grey levels."""
    return np.sum([np.bincount(some.ravel(), minlength=256) for some in _batches(images)], axis=0)


def _batches(images: Images) -> list[Images]:
    """Split `images` so that a batch of floats or integers eight times as large takes little memory."""
    return np.array_split(images, len(images) // 5000 + 1)


def pixel_statistics(images: Images) -> pd.Series:
    """Describe all pixels of all images; mean and standard deviation are of pixels divided by 255.

    Returns
    -------
    Series of float
        ``mean``, ``std``; ``black``, ``white`` and ``grey``: the shares of pixels that are 0, 255 and between; ``never
        used``: how many of the 784 places are 0 in every image.
    """
    counts = grey_levels(images)  # whole numbers: exact, where a mean of 42 million floats is not
    share, levels = counts / counts.sum(), np.arange(256) / 255
    mean = float(share @ levels)
    return pd.Series(
        {
            "mean": mean,
            "std": float(np.sqrt(share @ (levels - mean) ** 2)),
            "black": share[0],
            "white": share[255],
            "grey": 1 - share[0] - share[255],
            "never used": float((images.max(axis=0) == 0).sum()),
        }
    )


def placement(images: Images) -> pd.DataFrame:
    """Tell where each digit lies.

    Returns
    -------
    DataFrame, a row an image
        ``height`` and ``width`` of the box around all ink, in pixels; ``row`` and ``column`` of the centre of mass, counted
        from 0 at the centre of the first pixel. All 0 for an image without ink.
    """
    rows, columns = images.any(axis=2), images.any(axis=1)
    mass = np.maximum(images.sum(axis=(1, 2), dtype=np.int64), 1)
    return pd.DataFrame(
        {
            "height": _extent(rows),
            "width": _extent(columns),
            "row": images.sum(axis=2, dtype=np.int64) @ np.arange(28) / mass,
            "column": images.sum(axis=1, dtype=np.int64) @ np.arange(28) / mass,
        }
    )


def _extent(used: Any) -> Indices:
    last = used.shape[1] - used[:, ::-1].argmax(axis=1)
    return np.where(used.any(axis=1), last - used.argmax(axis=1), 0)


def shift(images: Images, pixels: int) -> Images:
    """Move every image to the right by `pixels` (0 to 28); what leaves on the right is lost."""
    moved = np.zeros_like(images)
    moved[:, :, pixels:] = images[:, :, : 28 - pixels]
    return moved


# --- strokes ----------------------------------------------------------------------------------------------


def thickness(images: Images) -> Floats:
    """Measure the mean width of each digit's strokes.

    It is twice the mean distance from the strokes' centre line (skeleton) to the nearest paper, on an image enlarged four
    times and cut at half of the full ink. About 3 ms an image.

    Returns
    -------
    float array, shape (n,), in pixels of the 28x28 image; NaN for an image without ink

    References
    ----------
    Castro, Tan, Kainz, Konukoglu, Glocker (2019): Morpho-MNIST: Quantitative Assessment and Diagnostics for
    Representation Learning. Journal of Machine Learning Research 20(178).
    """
    return np.array([_thickness(image) for image in images])


def _thickness(image: Images) -> float:

    larger = Image.fromarray(image).resize((28 * _FINER, 28 * _FINER), Image.Resampling.BICUBIC)
    ink = np.pad(np.asarray(larger) >= 128, 1)
    if not ink.any():
        return float("nan")
    # The distance is to the centre of the first paper pixel, which lies half a pixel beyond the stroke's edge; the
    # centre line lies up to half a pixel beside the true middle. A quarter is what is left of both on average.
    return 2 * float((ndimage.distance_transform_edt(ink)[skeletonize(ink)] - 0.25).mean()) / _FINER


def slant(images: Images) -> Floats:
    """Measure how far each digit leans: the angle of the shear that would set it upright.

    With the central second moments of the ink, the horizontal shift per row that removes the correlation of rows and
    columns is mu11 / mu02; its arctangent is the slant.

    Returns
    -------
    float array, shape (n,), in degrees from the vertical, positive to the right; 0 for an image with ink in one row only

    References
    ----------
    Hu (1962): Visual pattern recognition by moment invariants. IRE Transactions on Information Theory 8(2). The moments.
    LeCun, Bottou, Bengio, Haffner (1998): Gradient-based learning applied to document recognition. Proceedings of the
    IEEE 86(11), section III-A. Deslanting MNIST by them.
    """
    return np.concatenate([_slant(some) for some in _batches(images)])


def _slant(images: Images) -> Floats:
    place = placement(images)
    x = np.arange(28) - place["column"].to_numpy()[:, None]
    y = np.arange(28) - place["row"].to_numpy()[:, None]
    ink = images.astype(np.float64)
    mu11 = np.einsum("nij,ni,nj->n", ink, y, x, optimize=True)
    mu02 = np.einsum("nij,ni->n", ink, y**2, optimize=True)
    # Rows are counted downwards: ink that lies further left in lower rows leans to the right.
    return np.degrees(np.arctan(np.divide(-mu11, mu02, out=np.zeros_like(mu11), where=mu02 > 0)))


def spread_out(values: Floats, labels: Labels, count: int) -> list[Indices]:
    """Pick `count` images of each digit at evenly spaced ranks of a measured value, from the lowest to the highest.

    Returns
    -------
    list of ten integer arrays
        Positions in `values` and `labels`; images without a value (NaN) are left out.
    """
    found = []
    for digit in DIGITS:
        members = np.flatnonzero((labels == digit) & ~np.isnan(values))
        ranked = members[np.argsort(values[members], kind="stable")]
        found.append(ranked[np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)])
    return found


# --- duplicates -------------------------------------------------------------------------------------------


def exact_duplicates(dataset: Dataset) -> pd.DataFrame:
    """Count the pairs of images that are equal in every pixel, within and between the parts.

    Returns
    -------
    DataFrame with the columns first, second (parts), pairs, and ``labels differ``: those of them with two labels
    """
    seen: dict[bytes, list[tuple[str, int]]] = {}
    for name, (images, labels) in parts(dataset).items():
        for image, label in zip(images, labels, strict=True):
            seen.setdefault(image.tobytes(), []).append((name, int(label)))
    found, conflicts = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for copies in seen.values():
        for (first, label), (second, other) in combinations(copies, 2):
            found[first, second] += 1
            conflicts[first, second] += label != other
    table = [(*pair, found[pair], conflicts[pair]) for pair in combinations_with_replacement(parts(dataset), 2)]
    return pd.DataFrame(table, columns=["first", "second", "pairs", "labels differ"])


@_one_thread
def nearest(queries: Images, references: Images, *, own: Indices | None = None) -> tuple[Floats, Indices]:
    """Find each query's nearest reference by Euclidean distance between pixels.

    The search is exact. Distances in a projection on 100 orthonormal directions (principal components) are never larger
    than the true ones, so only references that are nearer there than the best one found need to be compared in full.

    Parameters
    ----------
    queries, references : uint8 arrays, shapes (n, 28, 28) and (m, 28, 28)
    own : integer array, shape (n,), optional
        For queries taken from `references`, their positions there, else -1: an image is not its own neighbour.

    Returns
    -------
    distance : float array, shape (n,)
        With pixels from 0 to 1: its square is the number of pixels between which all ink changes from none to full.
    index : integer array, shape (n,)
        The neighbour's position in `references`; the first of equally near ones.
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
        if own is not None:
            mine = own[start : start + _CHUNK]
            bound[np.flatnonzero(mine >= 0), mine[mine >= 0]] = np.inf
        likely = bound.argmin(axis=1)
        best = ((chunk - flat[likely]) ** 2).sum(axis=1)
        # float32 knows squares of a few million to within one or two; the rest of the margin costs nothing.
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


# --- odd images, and a map --------------------------------------------------------------------------------


@_one_thread
def most_atypical(images: Images, labels: Labels, count: int, *, components: int = 30) -> list[Indices]:
    """Find the images of each digit that fit least to the others of their digit.

    For each digit, a probabilistic principal component analysis is fitted: a normal distribution whose first
    `components` directions (at most one for twenty images) have variances of their own and all others a common one.
    The images with the lowest likelihood come first.

    Returns
    -------
    list of ten integer arrays
        For each digit, the positions in `images` of its `count` most atypical ones, the oddest first.

    References
    ----------
    Tipping, Bishop (1999): Probabilistic principal component analysis. Journal of the Royal Statistical Society B 61(3).
    """
    found = []
    for digit in DIGITS:
        members = np.flatnonzero(labels == digit)
        pixels = images[members].reshape(len(members), -1).astype(np.float64) / 255
        # With few images a component, the oddest would get one for itself, and be likely.
        model = PCA(min(components, max(len(members) // 20, 1)), svd_solver="covariance_eigh").fit(pixels)
        found.append(members[np.argsort(model.score_samples(pixels), kind="stable")[:count]])
    return found


@_one_thread
def components_for(images: Images, share: float) -> int:
    """Count the principal components that together hold at least `share` (0 to 1) of the pixels' variance."""
    ratios = PCA(svd_solver="covariance_eigh").fit(_pixels(images)).explained_variance_ratio_
    return int(np.searchsorted(np.cumsum(ratios), share)) + 1


@_one_thread
def pca_map(images: Images) -> tuple[Floats, float]:
    """Project images on the two directions in which they vary most.

    Returns
    -------
    points : float array, shape (n, 2)
    explained : float
        Share of the pixels' variance, 0 to 1, that the two directions hold.
    """
    projection = PCA(2, svd_solver="covariance_eigh")
    points = projection.fit_transform(_pixels(images))
    return points, float(projection.explained_variance_ratio_.sum())


def agreement(points: Floats, labels: Labels) -> float:
    """Return the share (0 to 1) of points, shape (n, 2), whose nearest other point bears the same label."""
    _, neighbour = KDTree(points).query(points, k=2)
    return float((labels[neighbour[:, 1]] == labels).mean())


@_one_thread
def tsne_map(images: Images, *, seed: int = 0) -> Floats:
    """Lay images out in the plane so that near neighbours stay near; other distances mean nothing.

    Returns
    -------
    float array, shape (n, 2)

    References
    ----------
    van der Maaten, Hinton (2008): Visualizing data using t-SNE. Journal of Machine Learning Research 9.
    """
    pixels = _pixels(images)
    reduced = PCA(min(50, len(pixels) - 1), svd_solver="covariance_eigh").fit_transform(pixels)
    return TSNE(perplexity=min(30, (len(pixels) - 1) / 3), max_iter=500, random_state=seed).fit_transform(reduced)


def _pixels(images: Images) -> Floats:
    return images.reshape(len(images), -1).astype(np.float32) / 255
