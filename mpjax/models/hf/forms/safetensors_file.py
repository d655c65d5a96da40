"""``model.safetensors``, one tensor after the other.

`safetensors` maps the file and copies out of the map, so that every byte read is resident twice
until the file is closed. Here the library checks the header, and each tensor is read from the file
into its own array.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from mpjax.errors import InputError
from mpjax.files import parse_object, shown

T = TypeVar("T")
_TYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "BOOL": np.bool_,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip
_LENGTH = 8  # bytes of the header's length, which comes first


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by name; errors as `read_safetensors`."""

    def shapes(names: list[str]) -> dict[str, tuple[int, ...]]:
        header = _header(path)[0]
        return {name: tuple(header[name]["shape"]) for name in names}

    return _checked(path, shapes)


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name.

    Raises:
      InputError: a file that the library refuses, or a type that NumPy does not have, as float8.
    """

    def tensors(names: list[str]) -> dict[str, np.ndarray]:
        header, start = _header(path)
        with path.open("rb") as file:
            return {name: _read(file, header[name], start) for name in names}

    return _checked(path, tensors)


def _checked(path: Path, read: Callable[[list[str]], T]) -> T:
    """Reads from a file whose header is sound; ``read`` gets the names of the tensors."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = [*file.keys()]
        return read(names)
    except InputError:
        raise
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({shown(error)}); download or write it "
            "again"
        ) from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Entries of the header, and the offset of the first tensor."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        return parse_object(path, file.read(length)), _LENGTH + length


def _read(file: Any, entry: dict[str, Any], start: int) -> np.ndarray:
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"the type {entry['dtype']} is not supported")
    dtype, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"])
    array = np.empty(dtype.itemsize * math.prod(shape), np.uint8)
    file.seek(start + entry["data_offsets"][0])
    if file.readinto(array) != array.nbytes:
        raise ValueError("it ends within a tensor")
    return array.view(dtype).reshape(shape)
