"""The training steps of an epoch, in one compiled loop over images in memory.

Keras's `fit` gives the same weights, but compiles a step twice and takes each batch through a queue, which for these small
networks costs as much as a part of the arithmetic (`benchmarks/RESULTS.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_utils._support.arrays import TINY, Images
from mnist_utils.training.backend import keras, ops
from mnist_utils.training.epochs import Targets

# Steps between two looks at Ctrl-C and two reports of progress. A step of a small network takes milliseconds.
_STEPS_PER_CALL = 10
POINTS = 10  # of an epoch's curve


@dataclass(frozen=True)
class Seen:
    """What an epoch's first steps saw, as sums.

    Attributes
    ----------
    steps, images : int
        So far.
    labelled : int
        Those of the images that belong to one class; `pictures` adds some that belong to none.
    correct : int
        Of the labelled ones.
    cross_entropy : float
        Of the labelled ones, against their labels, without label smoothing.
    loss : float
        What the training lowers, of all images.
    """

    steps: int
    images: int
    labelled: int
    correct: int
    cross_entropy: float
    loss: float

    def means(self) -> dict[str, float]:
        """Return "accuracy" (0 to 1, of the labelled images) and "loss", the means so far."""
        return {"accuracy": self.correct / max(1, self.labelled), "loss": self.loss / self.images}


def curve_points(seen: Sequence[Seen], epoch: int, steps: int) -> list[dict[str, float]]:
    """Divide an epoch into ten equal parts, as far as its reports allow, and average each.

    Parameters
    ----------
    seen : sequence of Seen
        Of one epoch, in their order.
    epoch : int
        From 0.
    steps : int
        Of a whole epoch.

    Returns
    -------
    list of dict
        "epoch", the middle of the part; "accuracy" (0 to 1) and "loss", the cross-entropy against the labels in nat, of the
        part's images.
    """
    rows, before = [], Seen(0, 0, 0, 0, 0.0, 0.0)
    for one in seen:
        ends_part = one.steps * POINTS // steps > before.steps * POINTS // steps
        n = one.labelled - before.labelled
        if n and (ends_part or one is seen[-1]):
            middle = epoch + (before.steps + one.steps) / 2 / steps
            loss = (one.cross_entropy - before.cross_entropy) / n
            rows.append({"epoch": middle, "accuracy": (one.correct - before.correct) / n, "loss": loss})
            before = one
    return rows


Steps = Callable[[Images, Targets], Iterator[Seen]]


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
        It is an iterator, which trains as it is asked: each item is a `Seen` of all steps so far.
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
    def steps(x: tf.Tensor, y: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        def step(at: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, targets = (array[at * batch_size : (at + 1) * batch_size] for array in (x, y))
            with tf.GradientTape() as tape:
                found = model(images[..., None], training=True)
                loss = ops.sum([cross_entropy(targets, found), *model.losses])
            model.optimizer.apply(tape.gradient(loss, variables), variables)
            label = tf.argmax(targets, axis=1)
            labelled = tf.cast(tf.reduce_max(targets, axis=1) > tf.reduce_min(targets, axis=1), tf.float64)
            right = tf.cast(tf.argmax(found, axis=1) == label, tf.float64)
            of_label = tf.cast(tf.gather(found, label, batch_dims=1), tf.float64)
            surprise = -tf.math.log(tf.maximum(of_label, TINY))
            n = tf.cast(tf.shape(images)[0], tf.float64)
            sums += tf.stack(
                [
                    tf.reduce_sum(labelled),
                    tf.reduce_sum(labelled * right),
                    tf.reduce_sum(labelled * surprise),
                    n * tf.cast(loss, tf.float64),
                ]
            )
            return at + 1, sums

        return tf.while_loop(lambda at, _: at < last, step, (first, tf.zeros(4, tf.float64)))[1]

    def epoch(x: Images, y: Targets) -> Iterator[Seen]:
        images, targets, n = tf.constant(x), tf.constant(y), math.ceil(len(x) / batch_size)
        sums = np.zeros(4)
        at_once = min(_STEPS_PER_CALL, math.ceil(n / POINTS))
        for first in range(0, n, at_once):
            done = min(first + at_once, n)
            sums += ops.convert_to_numpy(steps(images, targets, tf.constant(first), tf.constant(done)))
            labelled, correct, cross_entropy, loss = sums.tolist()
            yield Seen(done, min(done * batch_size, len(x)), int(labelled), int(correct), cross_entropy, loss)

    return epoch
