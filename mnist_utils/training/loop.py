"""The training steps of an epoch, in one compiled loop over images in memory.

Keras's `fit` gives the same weights, but compiles a step twice and takes each batch through a queue, which for these small
networks costs as much as a part of the arithmetic (`benchmarks/RESULTS.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from mnist_utils._support.arrays import Images
from mnist_utils.training.backend import keras, ops
from mnist_utils.training.epochs import Targets

# Steps between two looks at Ctrl-C and two reports of progress. A step of a small network takes milliseconds.
_STEPS_PER_CALL = 10
Steps = Callable[[Images, Targets], Iterator[tuple[int, dict[str, float]]]]


def compile_steps(model: keras.Model, batch_size: int) -> Steps:
    """Return what trains a compiled model for one epoch.

    Parameters
    ----------
    model : keras.Model
        With its optimiser, built; it gives probabilities.
    batch_size : int
        Images per step; the last step of an epoch takes what is left.

    Returns
    -------
    callable
        Given images, uint8, shape (n, 28, 28), and targets, float32, shape (n, classes), it trains on them in their order.
        It is an iterator, which trains as it is asked: each item is the number of steps done and their "accuracy" (0 to 1)
        and "loss", the means over the images so far.
    """
    import tensorflow as tf

    cross_entropy = keras.losses.CategoricalCrossentropy()
    variables = model.trainable_variables
    # Keras would sum the gradients over devices, of which there is one; and TensorFlow keeps what it compiles for that,
    # some 10 MB for each training, as long as the process lives.
    model.optimizer._all_reduce_sum_gradients = list

    # Without AutoGraph, which cannot turn a `for` into a loop where Python is newer than it knows. Without XLA, which makes
    # these convolutions 2.5 times slower on a CPU.
    @tf.function(autograph=False, jit_compile=False)  # type: ignore[untyped-decorator]
    def steps(x: tf.Tensor, y: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def step(at: tf.Tensor, correct: tf.Tensor, loss_sum: tf.Tensor) -> tuple[tf.Tensor, ...]:
            images, targets = (array[at * batch_size : (at + 1) * batch_size] for array in (x, y))
            with tf.GradientTape() as tape:
                found = model(images[..., None], training=True)
                loss = ops.sum([cross_entropy(targets, found), *model.losses])
            model.optimizer.apply(tape.gradient(loss, variables), variables)
            right = tf.argmax(found, axis=1) == tf.argmax(targets, axis=1)
            n = tf.cast(tf.shape(images)[0], tf.float64)
            return at + 1, correct + tf.reduce_sum(tf.cast(right, tf.float64)), loss_sum + n * tf.cast(loss, tf.float64)

        nothing = tf.constant(0.0, tf.float64)
        _, correct, loss_sum = tf.while_loop(lambda at, *_: at < last, step, (first, nothing, nothing))
        return correct, loss_sum

    def epoch(x: Images, y: Targets) -> Iterator[tuple[int, dict[str, float]]]:
        images, targets, n = tf.constant(x), tf.constant(y), math.ceil(len(x) / batch_size)
        correct = loss_sum = 0.0
        for first in range(0, n, _STEPS_PER_CALL):
            done = min(first + _STEPS_PER_CALL, n)
            more = steps(images, targets, tf.constant(first), tf.constant(done))
            correct, loss_sum = correct + float(more[0]), loss_sum + float(more[1])
            seen = min(done * batch_size, len(x))
            yield done, {"accuracy": correct / seen, "loss": loss_sum / seen}

    return epoch
