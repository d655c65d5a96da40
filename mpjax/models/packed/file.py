"""Packed model, one ``.mpz`` file: the kept weights, and the small files of the model's folder.

The file, format 1, numbers little-endian::

    8 bytes    "MPJAXPK" and the format's number
    8 bytes    length of the header
    header     JSON, DEFLATE (zlib)
    streams    one after the other, in the order in which the header names them
    32 bytes   SHA-256 of everything before

The header is ``{"files": {name: STREAM}, "tensors": {name: TENSOR}}``. STREAM is ``[coder, size]``.
TENSOR is ``{"same_as": name}``, or has ``dtype``, the type it is restored to; ``stored``, an ARRAY;
and for int8 ``scales``, an ARRAY of one float32 per row. ARRAY has ``dtype, shape, kept``, a MASK
``mask``, a STREAM ``values`` and a MASK ``signs``, as in `mpjax.models.packed.coding`; MASK is
``[form, coder, size]``.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  teaches NumPy the name bfloat16
import numpy as np

from mpjax.errors import InputError
from mpjax.files import write_atomically
from mpjax.models.packed.coding import Coded, Mask, Stream, decode_array, decompress
from mpjax.models.packed.quantize import from_int8

PACKED_SUFFIX = ".mpz"
FILE_FORMAT = 1
_MAGIC = b"MPJAXPK"
_SUM = hashlib.sha256
_START = len(_MAGIC) + 1 + 8  # offset of the header


@dataclass(frozen=True)
class PackedTensor:
    """A coded array, the dtype it is restored to, and the row scales of int8."""

    dtype: str
    array: Coded
    scales: Coded | None = None

    def restore(self) -> np.ndarray:
        """Decodes the tensor to its dtype and shape."""
        array = decode_array(self.array)
        if self.scales is not None:
            return from_int8(array, decode_array(self.scales), self.dtype)
        return array.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class PackedModel:
    """Compressed files and tensors by name; equal tensors may be one object under several names."""

    files: Mapping[str, Stream]
    tensors: Mapping[str, PackedTensor]

    def read_file(self, name: str) -> bytes:
        """Decompresses one of the small files."""
        return decompress(self.files[name])

    def restore(self) -> dict[str, np.ndarray]:
        """Decodes every tensor."""
        return {name: tensor.restore() for name, tensor in self.tensors.items()}


def is_packed(path: str | Path) -> bool:
    """Whether a path is a packed model: a file that ends in ``.mpz``."""
    return Path(path).suffix == PACKED_SUFFIX and Path(path).is_file()


def read_packed(path: Path) -> PackedModel:
    """Reads a packed model and checks its checksum; tensors stay compressed until restored.

    Raises:
      InputError: a file that is cut short, damaged, not a packed model, or of a later format.
    """
    data = path.read_bytes()
    body, checksum = data[: -_SUM().digest_size], data[-_SUM().digest_size :]
    if len(body) < _START or _SUM(body).digest() != checksum or not body.startswith(_MAGIC):
        raise InputError(
            f"{path} is damaged, cut short or not a packed model: its checksum is wrong; "
            "copy or pack it again"
        )
    if (version := body[len(_MAGIC)]) != FILE_FORMAT:
        raise InputError(
            f"{path} is a packed model of format {version}, this version of mpjax reads "
            f"{FILE_FORMAT}; use the version of mpjax that packed it, or a later one"
        )
    end = _START + int.from_bytes(body[_START - 8 : _START], "little")
    return _parse(json.loads(zlib.decompress(body[_START:end])), body[end:])


def small_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Content of the named files of a model folder or packed model; absent ones are left out."""
    if is_packed(folder):
        packed = read_packed(folder)
        return {name: packed.read_file(name) for name in names if name in packed.files}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def write_packed(path: Path, packed: PackedModel, *, overwrite: bool = True) -> int:
    """Writes a packed model atomically; returns its size in bytes."""
    header, streams = _describe(packed)
    text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    parts = [_MAGIC + bytes([FILE_FORMAT]), len(text).to_bytes(8, "little"), text, *streams]
    checksum = _SUM()
    for part in parts:
        checksum.update(part)
    parts.append(checksum.digest())
    needs = sum(map(len, parts))
    write_atomically(path, lambda file: file.writelines(parts), needs, overwrite=overwrite)
    return path.stat().st_size


def _describe(packed: PackedModel) -> tuple[dict[str, Any], list[bytes]]:
    """The header, and the streams in its order."""
    streams: list[bytes] = []

    def put(stream: Stream) -> list[Any]:
        streams.append(stream.data)
        return [stream.coder, len(stream.data)]

    files = {name: put(stream) for name, stream in packed.files.items()}
    tensors: dict[str, Any] = {}
    names: dict[int, str] = {}  # of tensors already written, by identity
    for name, tensor in packed.tensors.items():
        if (first := names.setdefault(id(tensor), name)) != name:
            tensors[name] = {"same_as": first}
            continue
        tensors[name] = {"dtype": tensor.dtype, "stored": _array_json(tensor.array, put)}
        if tensor.scales is not None:
            tensors[name]["scales"] = _array_json(tensor.scales, put)
    return {"files": files, "tensors": tensors}, streams


def _array_json(coded: Coded, put: Callable[[Stream], list[Any]]) -> dict[str, Any]:
    return {
        "dtype": coded.dtype,
        "shape": coded.shape,
        "kept": coded.kept,
        "mask": [coded.mask.form, *put(coded.mask.stream)],
        "values": put(coded.values),
        "signs": [coded.signs.form, *put(coded.signs.stream)],
    }


def _parse(header: Mapping[str, Any], streams: bytes) -> PackedModel:
    """The inverse of `_describe`."""
    offset = 0

    def take(reference: list[Any]) -> Stream:
        nonlocal offset
        coder, size = reference
        offset += size
        return Stream(coder, streams[offset - size : offset])

    files = {name: take(reference) for name, reference in header["files"].items()}
    tensors: dict[str, PackedTensor] = {}
    for name, entry in header["tensors"].items():
        if "same_as" in entry:
            tensors[name] = tensors[entry["same_as"]]
            continue
        array = _array(entry["stored"], take)
        scales = _array(entry["scales"], take) if "scales" in entry else None
        tensors[name] = PackedTensor(entry["dtype"], array, scales)
    return PackedModel(files, tensors)


def _array(entry: Mapping[str, Any], take: Callable[[list[Any]], Stream]) -> Coded:
    def mask(reference: list[Any]) -> Mask:
        return Mask(reference[0], take(reference[1:]))

    return Coded(
        dtype=entry["dtype"],
        shape=tuple(entry["shape"]),
        kept=entry["kept"],
        mask=mask(entry["mask"]),
        values=take(entry["values"]),
        signs=mask(entry["signs"]),
    )
