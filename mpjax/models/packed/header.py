"""Header of a packed model: names, shapes and stream sizes, checked against the streams."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes  # noqa: F401  teaches NumPy the name bfloat16
import numpy as np

from mpjax.files import shown
from mpjax.models.packed.coding import CODERS, FORMS, Coded, Mask, Stream, decode_array
from mpjax.models.packed.quantize import from_int8

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_DTYPES = (
    *_FLOATS,
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
_MOST_AXES, _LONGEST_AXIS, _LONGEST_NAME = 8, 1 << 31, 255


@dataclass(frozen=True)
class PackedTensor:
    """A coded array, the dtype it is restored to, and the row scales of int8."""

    dtype: str
    array: Coded
    scales: Coded | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the restored tensor."""
        return math.prod(self.array.shape) * np.dtype(self.dtype).itemsize

    def restore(self) -> np.ndarray:
        """Decodes the tensor to its dtype and shape."""
        array = decode_array(self.array)
        if self.scales is not None:
            return from_int8(array, decode_array(self.scales), self.dtype)
        return array.astype(self.dtype, copy=False)


Streams = dict[str, Stream]
Tensors = dict[str, PackedTensor]


def describe(files: Mapping[str, Stream], tensors: Mapping[str, PackedTensor]):
    """The header as JSON values, and the streams in its order."""
    streams: list[bytes] = []

    def put(stream: Stream) -> list[Any]:
        streams.append(stream.data)
        return [stream.coder, len(stream.data)]

    header: dict[str, Any] = {"files": {name: put(s) for name, s in files.items()}, "tensors": {}}
    names: dict[int, str] = {}  # of tensors already written, by identity
    for name, tensor in tensors.items():
        if (first := names.setdefault(id(tensor), name)) != name:
            header["tensors"][name] = {"same_as": first}
            continue
        entry = {"dtype": tensor.dtype, "stored": _array_json(tensor.array, put)}
        if tensor.scales is not None:
            entry["scales"] = _array_json(tensor.scales, put)
        header["tensors"][name] = entry
    return header, streams


def parse(header: Mapping[str, Any], streams: bytes) -> tuple[Streams, Tensors]:
    """Files and tensors of a header; the inverse of `describe`.

    Raises:
      ValueError: a header that `describe` does not make, or not of these streams.
    """
    _keys(header, "the header", "files", "tensors")
    rest = _Rest(streams)
    files: Streams = {}
    for name, reference in _items(header["files"], "files"):
        if name in ("", ".", "..") or set(name) & set("/\\\0") or len(name) > _LONGEST_NAME:
            raise ValueError(f"file {shown(repr(name))} is no name of a file in a folder")
        files[name] = rest.stream(reference, f"file {shown(name)}")
    tensors: Tensors = {}
    for name, entry in _items(header["tensors"], "tensors"):
        tensors[name] = _tensor(entry, f"tensor {shown(name)}", tensors, rest)
    if rest.offset != len(streams):
        raise ValueError(f"{len(streams) - rest.offset} bytes belong to no stream")
    return files, tensors


class _Rest:
    """Hands out streams one after the other; ValueError for more bytes than there are."""

    def __init__(self, streams: bytes) -> None:
        self.streams = streams
        self.offset = 0

    def stream(self, reference: object, of: str) -> Stream:
        coder, size = _list(reference, 2, of)
        if not isinstance(coder, str) or coder not in CODERS:
            raise ValueError(f"{of} has the coder {shown(repr(coder))}; known: {', '.join(CODERS)}")
        left = len(self.streams) - self.offset
        if _whole(size, of) > left:
            raise ValueError(f"{of} has a stream of {size} bytes where {left} are left")
        self.offset += size
        return Stream(coder, self.streams[self.offset - size : self.offset])

    def mask(self, reference: object, of: str) -> Mask:
        form, *stream = _list(reference, 3, of)
        if form not in FORMS:
            raise ValueError(f"{of} has a mask of form {shown(repr(form))}; known: {FORMS}")
        return Mask(form, self.stream(stream, of))

    def array(self, entry: object, of: str) -> Coded:
        _keys(entry, of, "dtype", "shape", "kept", "mask", "values", "signs")
        assert isinstance(entry, Mapping)
        shape = tuple(_list(entry["shape"], None, of))
        if len(shape) > _MOST_AXES or any(_whole(n, of) >= _LONGEST_AXIS for n in shape):
            raise ValueError(f"{of} has the shape {shown(shape)}")
        if _whole(entry["kept"], of) > math.prod(shape):
            raise ValueError(f"{of} keeps {entry['kept']} of {math.prod(shape)} entries")
        return Coded(
            dtype=_dtype(entry["dtype"], of),
            shape=shape,
            kept=entry["kept"],
            mask=self.mask(entry["mask"], of),
            values=self.stream(entry["values"], of),
            signs=self.mask(entry["signs"], of),
        )


def _tensor(entry: object, of: str, known: Tensors, rest: _Rest) -> PackedTensor:
    """One tensor; ``known`` are those before it."""
    if isinstance(entry, Mapping) and "same_as" in entry:
        _keys(entry, of, "same_as")
        first = entry["same_as"]
        if not isinstance(first, str) or first not in known:
            raise ValueError(f"{of} is the same as {shown(repr(first))}, which is not before it")
        return known[first]
    scaled = isinstance(entry, Mapping) and "scales" in entry
    _keys(entry, of, "dtype", "stored", *(("scales",) if scaled else ()))
    assert isinstance(entry, Mapping)
    dtype, array = _dtype(entry["dtype"], of), rest.array(entry["stored"], of)
    if not scaled:
        # Only tables are rounded, to float16.
        if array.dtype != dtype and not (array.dtype == "float16" and dtype in _FLOATS):
            raise ValueError(f"{of} is stored as {array.dtype}, which is no {dtype}")
        return PackedTensor(dtype, array)
    scales = rest.array(entry["scales"], of)
    types = (array.dtype, scales.dtype) == ("int8", "float32") and dtype in _FLOATS
    if not types or len(array.shape) != 2 or scales.shape != array.shape[:1]:
        raise ValueError(f"{of} has scales that do not belong to its rows")
    return PackedTensor(dtype, array, scales)


def _array_json(coded: Coded, put: Callable[[Stream], list[Any]]) -> dict[str, Any]:
    return {
        "dtype": coded.dtype,
        "shape": coded.shape,
        "kept": coded.kept,
        "mask": [coded.mask.form, *put(coded.mask.stream)],
        "values": put(coded.values),
        "signs": [coded.signs.form, *put(coded.signs.stream)],
    }


def _keys(value: object, of: str, *names: str) -> None:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise ValueError(f"{of} must have {', '.join(names)} and nothing else")


def _items(value: object, of: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{of} must be an object, found {shown(repr(value))}")
    yield from value.items()


def _list(value: object, length: int | None, of: str) -> list[Any]:
    if not isinstance(value, list) or length not in (None, len(value)):
        raise ValueError(f"{of} has {shown(repr(value))} where a list belongs")
    return value


def _whole(value: object, of: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{of} has {shown(repr(value))} where a number, 0 or more, belongs")
    return value


def _dtype(value: object, of: str) -> str:
    if not isinstance(value, str) or value not in _DTYPES:
        raise ValueError(f"{of} has the dtype {shown(repr(value))}; known: {', '.join(_DTYPES)}")
    return value
