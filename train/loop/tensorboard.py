"""The figures of every epoch for TensorBoard, which need not be installed where a training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..engine import tf


def write_scalars(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Appends rows of history.csv to the event files of `folder`, one step per "epoch".

    Each call writes a file of its own and closes it: a training that is killed loses nothing. It is what
    tf.summary.scalar writes, which is TensorBoard's own function.
    """
    plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
    metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=1)  # DATA_CLASS_SCALAR
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for row in rows:
            for name, value in row.items():
                if name != "epoch":
                    value = tf.constant(value, tf.float32)
                    tf.summary.write(name, value, step=int(row["epoch"]), metadata=metadata)
    writer.close()
