"""Keras, imported quickly, and batches of arrays for it. Other modules import Keras from here.

During the import, Python's garbage collector repeatedly scans the new objects and finds nothing to free, which takes a
fifth of the import's time (`benchmarks/RESULTS.md`).
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mnist_utils._support import stderr

if TYPE_CHECKING:
    import tensorflow as tf


_was_on = gc.isenabled()
gc.disable()
try:
    with stderr.quiet_stderr():
        import keras as keras
        from keras import layers as layers
        from keras import ops as ops
finally:
    if _was_on:
        gc.enable()
# TensorFlow warns of frequent compilation where several models are trained one after the other, as here they are.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in str(record.msg))
gc.freeze()  # later collections skip the objects made so far, which stay anyway


def batches(batch_size: int, *arrays: NDArray[Any]) -> tf.data.Dataset:
    """Feed arrays to `fit` or `predict` in batches, in order.

    Given plain arrays, Keras does the same, but TensorFlow tunes the feeding in a thread that sleeps between attempts, twice
    as long each time. The end of an epoch waits for that thread, sometimes as long as the epoch took
    (`benchmarks/RESULTS.md`). For arrays in memory there is nothing to tune.

    Parameters
    ----------
    batch_size : int
    *arrays : arrays, each of shape (n, ...)
        Images for `predict`; images and targets for `fit`.

    Returns
    -------
    tf.data.Dataset of ceil(n / batch_size) tuples
    """
    import tensorflow as tf

    tensors = [tf.constant(array) for array in arrays]
    starts = tf.data.Dataset.range(0, len(arrays[0]), batch_size)
    fed = starts.map(lambda start: tuple(tensor[start : start + batch_size] for tensor in tensors)).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False
    return fed.with_options(options)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed everything random in models built in this block.

    Keras takes the seeds of its layers from `random.randint`, whose sequence all threads share: another thread, such as a
    Dask worker, would change the model by using it at the same time. So the block has its own sequence.
    """
    keras.utils.set_random_seed(seed)
    shared = random.randint
    random.randint = random.Random(seed).randint  # noqa: S311 - not for secrets
    try:
        yield
    finally:
        random.randint = shared
