"""Keras, imported quickly, and images on their way to it: whoever needs it takes it from here.

Python's garbage collector looks through all that the import makes, again and again, and finds nothing to free: that is a
fifth of the import's time (`benchmarks/RESULTS.md`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

_NOISE = re.compile(rb"oneDNN custom operations are on|before absl::InitializeLog\(\)")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out of what is written to stderr, even by libraries in C++, the lines that nobody can act on.

    Where the processor has the newer vector instructions, TensorFlow tells of oneDNN while it is loaded, twice, and heeds
    no TF_CPP_MIN_LOG_LEVEL in it. All other lines come when the block ends; a process that is killed in it ends in silence.
    """
    with contextlib.ExitStack() as stack:
        try:
            said = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # nowhere to write, or no stderr: better noisy than not at all
            yield
            return
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said:
                if not _NOISE.search(line):
                    with contextlib.suppress(OSError):  # as C++ does where stderr is full
                        os.write(2, line)


_was_on = gc.isenabled()
gc.disable()
try:
    with _quiet():
        import keras as keras
        from keras import layers as layers
        from keras import ops as ops
finally:
    if _was_on:
        gc.enable()
gc.freeze()  # what is there now stays: no later collection looks at it


def batches(batch_size: int, *arrays: NDArray[Any]) -> tf.data.Dataset:
    """Feed arrays to `fit` or `predict`, batch by batch in their order.

    Given the arrays themselves, Keras feeds them in the same way but lets TensorFlow tune the feeding in a thread, which
    sleeps between its attempts, twice as long each time; and the end of an epoch waits until it wakes, sometimes as long
    as the epoch took (`benchmarks/RESULTS.md`). There is nothing to tune in arrays that are in memory.

    Parameters
    ----------
    batch_size : int
    *arrays : arrays, each of shape (n, ...)
        One for `predict`; images and targets for `fit`.

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
