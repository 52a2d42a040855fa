"""TensorFlow, silenced and seeded. Everything above imports `tf, keras` from here, nowhere else.

`keras` is tf_keras (Keras 2): tensorflow-model-optimization knows no other.
"""

from __future__ import annotations

import os
from typing import Any

from ..edge_runtime.quiet import quiet

# Before the import: TensorFlow reads these when it is loaded.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"


with quiet():
    import tensorflow
    import tf_keras

    # Any: neither has types that say more than they get wrong.
    tf: Any = tensorflow
    keras: Any = tf_keras
    if "TF_CONFIG" not in os.environ:  # a cluster has to be joined before the first operation
        tf.constant(0)  # which lets the devices and oneDNN introduce themselves
tf.get_logger().setLevel("ERROR")
tf.autograph.set_verbosity(0)


def has_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def start(seed: int, *, mixed_precision: bool | None = None, deterministic: bool = True) -> bool:
    """Seeds Python, NumPy and TensorFlow, and sets determinism and the precision policy.

    Args:
        mixed_precision: None means on where a GPU is there (float16; on a CPU it would be bfloat16). Returns whether it
            is on.
        deterministic: Operations that give the same bits again, on the same machine with the same number of threads.
            They let a training that was killed and resumed repeat the one that was never killed. TensorFlow cannot turn
            them off again within a process.
    """
    keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    mixed = has_gpu() if mixed_precision is None else mixed_precision
    keras.mixed_precision.set_global_policy(
        "float32" if not mixed else "mixed_float16" if has_gpu() else "mixed_bfloat16"
    )
    return mixed
