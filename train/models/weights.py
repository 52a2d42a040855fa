"""Weights from files that may come from a stranger: arrays are read into a network that our own code has built.

Keras' own loader builds the network that a file describes, and a description can name any Python function
(`safe_mode` refuses lambdas, not names). So nothing of a description is executed here: it is compared, as text, with
the network that the recipe makes, and every array's size is known before it is read.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import files
from ...edge_runtime.errors import DataError

DESCRIPTION, WEIGHTS = "config.json", "model.weights.h5"
"""Members of a .keras archive."""

_MOST_DESCRIPTION = 32 << 20  # bytes; the largest backbone's is 1 MB
_OVERHEAD = 32 << 20  # bytes of an HDF5 file beside its arrays
_MOST_OBJECTS = 100_000
_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, RecursionError, EOFError,
    NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class _UnfitError(Exception):
    """The file is not of this network, or no such file; the message is the end of a sentence."""


def load(model: Any, path: Path) -> None:
    """Gives `model` the weights of a .keras file that `model.save` wrote of the same network.

    Raises DataError where the file is damaged, is of another network, or holds a weight that is not finite.
    """
    try:
        with zipfile.ZipFile(path) as archive, files.temporary_file() as unpacked:
            _check_description(model, _member(archive, DESCRIPTION, _MOST_DESCRIPTION))
            _unpack(archive, WEIGHTS, unpacked, 4 * _bytes(model) + _OVERHEAD)  # an optimizer's state may be there
            unpacked.seek(0)
            for layer, arrays in _arrays(model, unpacked):
                layer.load_own_variables(arrays)
    except _UnfitError as error:
        raise DataError(f"{path}: {error}") from None
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be loaded: {_first_line(error)}") from None


def load_backbone(network: Any, path: str | Path, what: str) -> None:
    """Gives `network` the weights of a file of Keras' own: .h5 or .keras, of the weights alone or of a whole model.

    Args:
        what: The network, for the message.

    Raises:
        DataError: Where the file is of another network or is no such file.
    """
    try:
        with files.temporary_folder() as folder:
            file, most = Path(path), 4 * _bytes(network) + _OVERHEAD
            if file.suffix == ".keras":
                with zipfile.ZipFile(file) as archive, (folder / WEIGHTS).open("wb") as unpacked:
                    _unpack(archive, WEIGHTS, unpacked, most)
                file = folder / WEIGHTS
            elif file.suffix not in (".h5", ".hdf5"):
                raise _UnfitError("it is neither a .h5 nor a .keras file")
            _check_hdf5(file, most)
            network.load_weights(str(file))
        _check_finite([weight.numpy() for weight in network.weights], "it")
    except (_UnfitError, *_DAMAGED) as error:
        raise DataError(f"{path} does not fit {what}: {_first_line(error)}") from None


def _check_hdf5(path: Path, most: int) -> None:
    """Raises _UnfitError where an HDF5 file leads to other files, or claims more than `most` bytes of arrays."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]
    from h5py import h5o  # pyright: ignore[reportMissingTypeStubs, reportAttributeAccessIssue]

    total, seen = 0, set[int]()
    with h5py.File(path, "r") as file:
        waiting: list[Any] = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                child = _child(group, name)
                address = h5o.get_info(child.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if isinstance(child, h5py.Group):
                    waiting.append(child)
                else:
                    total += _claimed(child)
                if total > most or len(seen) > _MOST_OBJECTS:
                    raise _UnfitError(f"it claims to hold more than the {most >> 20} MB that this network can have")


def _bytes(model: Any) -> int:
    return sum(4 * int(np.prod(weight.shape)) for weight in model.weights)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise _UnfitError(f"its {name} is larger than {most >> 20} MB")
    return content


def _unpack(archive: zipfile.ZipFile, name: str, target: IO[bytes], most: int) -> None:
    """Copies a member, of which no more than `most` bytes are believed."""
    left = most
    with archive.open(name) as opened:
        while chunk := opened.read(min(1 << 20, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise _UnfitError(f"its {name} is larger than the {most >> 20} MB that this network can have")
            target.write(chunk)


def _check_description(model: Any, content: bytes) -> None:
    """The layers that the file names, by class and name in their order, are those of `model`."""
    described = json.loads(content)["config"]["layers"]
    theirs = [(str(one["class_name"]), str(one["config"]["name"])) for one in described]
    own = [(type(layer).__name__, str(layer.name)) for layer in model.layers]
    if len(theirs) != len(own):
        raise _UnfitError(f"it has {len(theirs)} layers, the recipe in config.yaml makes {len(own)}")
    for number, (there, here) in enumerate(zip(theirs, own, strict=True)):
        if (there[0], _given_name(*there)) != (here[0], _given_name(*here)):
            raise _UnfitError(
                f"its layer {number} is {there[0][:40]} '{there[1][:40]}', the recipe in config.yaml makes "
                f"{here[0]} '{here[1]}'"
            )


def _given_name(kind: str, name: str) -> str:
    """Without the number that Keras counts up, within one process, where nobody gave a name."""
    bare = re.sub(r"_\d+$", "", name)
    return bare if kind == "TFOpLambda" or bare == _snake(kind) or kind == "InputLayer" else name


def _snake(kind: str) -> str:
    """As Keras makes a layer's name of its class: DepthwiseConv2D -> depthwise_conv2d."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()


def _arrays(model: Any, file: IO[bytes]) -> Iterator[tuple[Any, dict[str, npt.NDArray[Any]]]]:
    """Each layer that has weights, and its arrays by number, as `model.save` has numbered them."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]

    numbers: Counter[str] = Counter()
    with h5py.File(file, "r") as opened:
        layers = _child(opened, "layers")
        for layer in model.layers:
            kind = _snake(type(layer).__name__)
            name = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
            numbers[kind] += 1
            variables = [*layer._trainable_weights, *layer._non_trainable_weights]
            if not variables:
                continue
            stored = _child(_child(layers, name), "vars")
            if len(stored) != len(variables):
                raise _UnfitError(f"layer {layer.name} has {len(stored)} arrays, the recipe makes {len(variables)}")
            arrays: dict[str, npt.NDArray[Any]] = {}
            for number, variable in enumerate(variables):
                array = _child(stored, str(number))
                if tuple(array.shape) != tuple(variable.shape):
                    raise _UnfitError(
                        f"layer {layer.name} has an array of {_by(array.shape)}, the recipe makes {_by(variable.shape)}"
                    )
                if _claimed(array) > variable.shape.num_elements() * 8:
                    raise _UnfitError(f"layer {layer.name} has an array that takes more bytes than its numbers")
                arrays[str(number)] = array[()]
            _check_finite(list(arrays.values()), f"layer {layer.name}")
            yield layer, arrays


def _by(shape: Any) -> str:
    return "x".join(map(str, shape)) or "one number"


def _child(group: Any, name: str) -> Any:
    """What is in the file itself under that name: a soft or external link leads elsewhere."""
    from h5py import h5l  # pyright: ignore[reportMissingTypeStubs, reportAttributeAccessIssue]

    encoded = name.encode()  # by h5py's lower half, which follows no link to answer
    if not group.id.links.exists(encoded):
        raise _UnfitError(f"it has no entry named {name[:80]!r}")
    if group.id.links.get_info(encoded).type != h5l.TYPE_HARD:
        raise _UnfitError(f"{name[:80]!r} in it is a link")
    return group[name]


def _claimed(array: Any) -> int:
    """The bytes that an array says it has. Raises _UnfitError where they are not plain numbers in the file itself."""
    import h5py  # pyright: ignore[reportMissingTypeStubs]

    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "fiu":
        raise _UnfitError("it holds something other than arrays of numbers")
    if array.is_virtual or array.external:
        raise _UnfitError("it refers to other files")
    size = array.dtype.itemsize * int(np.prod(array.shape, dtype=object))
    if array.chunks is not None:  # a chunk is unpacked whole, and may be larger than the array
        size = max(size, array.dtype.itemsize * int(np.prod(array.chunks, dtype=object)))
    return size


def _check_finite(arrays: list[npt.NDArray[Any]], where: str) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise _UnfitError(f"{where} has a weight that is not a finite number")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
