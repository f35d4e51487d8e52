"""A run's curves, hyper-parameters and confusion matrix in event files, which TensorBoard opens.

TensorFlow's own functions for these (``tf.summary``) are in the package tensorboard. The file's form is a few messages that
TensorFlow itself has, so that package is only needed to look at them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from mnist_utils.runs.run import Run, RunError
from mnist_utils.training.backend import keras, ops

if TYPE_CHECKING:
    from mnist_utils.training.config import TrainConfig

SCALARS = "accuracy", "loss", "clean_accuracy", "clean_loss", "val_accuracy", "val_loss", "learning_rate"
_DATA_CLASSES = {"scalars": 1, "text": 2, "images": 3}  # of TensorBoard's plugins: a number, a tensor, blobs


def tensorboard_callback(logs: Path, name: str, config: TrainConfig) -> keras.callbacks.Callback:
    """Make a callback that writes the curves of a training into ``logs/name``, an epoch at a time.

    A resumed training continues them. One that starts again replaces them.

    Parameters
    ----------
    logs : Path
        Folder of all curves, for ``tensorboard --logdir``; made if it is missing.
    name : str
        The run's name.
    config : TrainConfig
        Its hyper-parameters are written as text.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    write = _open_events(logs / name)

    def epoch_ended(epoch: int, values: Mapping[str, float]) -> None:
        rate = float(ops.convert_to_numpy(callback.model.optimizer.learning_rate))
        _write_epoch(write, epoch + 1, {**values, "learning_rate": rate}, config)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=epoch_ended)
    return callback


def write_result(run: Run, logs: Path, *, curves: bool = False) -> None:
    """Write a complete run's confusion matrix into ``logs/name``; its curves too if no callback has.

    Parameters
    ----------
    run : Run
    logs : Path
        As for `tensorboard_callback`.
    curves : bool
        Write the recorded curves and hyper-parameters, in place of those that are there.

    Raises
    ------
    RunError
        If the run is incomplete.
    OSError
        If the folder cannot be written.
    """
    run.trained("confusion matrix yet")
    write, history = _open_events(logs / run.name), run.history()
    if curves:
        for row in history.to_dict("records"):
            _write_epoch(write, int(row["epoch"]), {str(tag): value for tag, value in row.items()}, run.config)
    png = run.path / "figures" / "confusion_matrix.png"
    with Image.open(png) as image:
        size = [str(side).encode() for side in image.size]
    picture = _summary({"confusion_matrix": ("images", [*size, png.read_bytes()])})
    write(step=int(history["epoch"].iloc[-1]), summary=picture)


def _write_epoch(write: Callable[..., None], epoch: int, values: Mapping[str, float], config: TrainConfig) -> None:
    import tensorflow as tf

    log = tf.compat.v1.SessionLog
    write(step=epoch, session_log=log(status=log.START))  # TensorBoard drops what an earlier training wrote from here on
    tags: dict[str, tuple[str, Any]] = {tag: ("scalars", values[tag]) for tag in SCALARS if tag in values}
    if epoch == 1:
        rows = (f"| {name} | {value} |" for name, value in config.model_dump().items())
        tags["hyper-parameters"] = "text", "\n".join(["| name | value |", "|---|---|", *rows])
    write(step=epoch, summary=_summary(tags))


def _summary(tags: Mapping[str, tuple[str, Any]]) -> Any:
    """Put tags, each with its plugin and its data, into the message that TensorBoard reads."""
    import tensorflow as tf

    v1 = tf.compat.v1
    values = []
    for tag, (plugin, data) in tags.items():
        shown_by = v1.SummaryMetadata.PluginData(plugin_name=plugin)
        metadata = v1.SummaryMetadata(plugin_data=shown_by, data_class=_DATA_CLASSES[plugin])
        values.append(v1.Summary.Value(tag=tag, metadata=metadata, tensor=tf.make_tensor_proto(data)))
    return v1.Summary(value=values)


def _open_events(folder: Path) -> Callable[..., None]:
    """Begin an event file; return what writes an event with such fields into it."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{time.time():.6f}"  # the names' order is the order of reading
    path.touch()  # what is wrong with the folder is then an OSError, not one of TensorFlow's
    file = tf.io.TFRecordWriter(str(path))

    def write(**fields: Any) -> None:
        try:
            file.write(tf.compat.v1.Event(wall_time=time.time(), **fields).SerializeToString())
            file.flush()
        except tf.errors.OpError as error:
            raise RunError(f"cannot write {path}: {error.message}. Free some space; the same command resumes") from None

    write(file_version="brain.Event:2")
    return write
