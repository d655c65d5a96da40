"""A model in one compact file, ``.mpz``: kept weights only, and the small files of its folder.

The file, format 1, numbers little-endian::

    8 bytes    "MPJAXPK" and the format's number
    8 bytes    length of the header
    header     JSON, DEFLATE (zlib)
    streams    one after the other, in the order in which the header names them
    32 bytes   SHA-256 of everything before

The header is ``{"files": {name: STREAM}, "tensors": {name: TENSOR}}``. STREAM is ``[coder, size]``.
TENSOR has ``dtype``, what the tensor is read as; ``stored``, an ARRAY; for int8 also ``scales``, an
ARRAY of one float32 per row. Or it is ``{"same_as": name}``. ARRAY has ``dtype, shape, kept``, a
MASK ``mask``, a STREAM ``values`` and a MASK ``signs``, as in `mpjax.models.coding`; MASK is
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
from mpjax.models.packed.coding import Coded, Mask, Stream, decode, decompress
from mpjax.models.packed.quantize import from_int8

SUFFIX = ".mpz"
FORMAT = 1
_MAGIC = b"MPJAXPK"
_SUM = hashlib.sha256
_START = len(_MAGIC) + 1 + 8  # where the header begins


@dataclass(frozen=True)
class Stored:
    """One tensor: an array, and the dtype it is read as; int8 rows come with their scales."""

    dtype: str
    array: Coded
    scales: Coded | None = None

    def restore(self) -> np.ndarray:
        """The tensor, in its own dtype and shape."""
        array = decode(self.array)
        if self.scales is not None:
            return from_int8(array, decode(self.scales), self.dtype)
        return array.astype(self.dtype, copy=False)


@dataclass(frozen=True)
class Packed:
    """What a packed model holds. Tensors that are equal may be one object under several names."""

    files: Mapping[str, Stream]
    tensors: Mapping[str, Stored]

    def read_file(self, name: str) -> bytes:
        """The content of one of the small files."""
        return decompress(self.files[name])

    def restore(self) -> dict[str, np.ndarray]:
        """Every tensor by name."""
        return {name: stored.restore() for name, stored in self.tensors.items()}


def is_packed(path: str | Path) -> bool:
    """Whether a path is that of a packed model: a file that ends in ``.mpz``."""
    return Path(path).suffix == SUFFIX and Path(path).is_file()


def read_packed(path: Path) -> Packed:
    """A packed model, once its checksum is right; tensors stay compressed until they are asked for.

    Raises:
      InputError: a file that is cut short, damaged or no packed model, or of a later format.
    """
    data = path.read_bytes()
    body, checksum = data[: -_SUM().digest_size], data[-_SUM().digest_size :]
    if len(body) < _START or _SUM(body).digest() != checksum or not body.startswith(_MAGIC):
        raise InputError(
            f"{path} is damaged, cut short or not a packed model: its checksum is wrong; "
            "copy or pack it again"
        )
    if (version := body[len(_MAGIC)]) != FORMAT:
        raise InputError(
            f"{path} is a packed model of format {version}, this version of mpjax reads {FORMAT}; "
            "use the version of mpjax that packed it, or a later one"
        )
    end = _START + int.from_bytes(body[_START - 8 : _START], "little")
    return _parse(json.loads(zlib.decompress(body[_START:end])), body[end:])


def small_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The files of a model folder, packed or not, that are there and have one of the names."""
    if is_packed(folder):
        packed = read_packed(folder)
        return {name: packed.read_file(name) for name in names if name in packed.files}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def write_packed(path: Path, packed: Packed) -> int:
    """Writes the file by way of a temporary one and a rename; returns its size in bytes."""
    header, streams = _describe(packed)
    text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    parts = [_MAGIC + bytes([FORMAT]), len(text).to_bytes(8, "little"), text, *streams]
    checksum = _SUM()
    for part in parts:
        checksum.update(part)
    write_atomically(path, lambda file: file.writelines([*parts, checksum.digest()]))
    return path.stat().st_size


def _describe(packed: Packed) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the streams it names."""
    streams: list[bytes] = []

    def put(stream: Stream) -> list[Any]:
        streams.append(stream.data)
        return [stream.coder, len(stream.data)]

    files = {name: put(stream) for name, stream in packed.files.items()}
    tensors: dict[str, Any] = {}
    names: dict[int, str] = {}  # of tensors already written, by identity
    for name, stored in packed.tensors.items():
        if (first := names.setdefault(id(stored), name)) != name:
            tensors[name] = {"same_as": first}
            continue
        tensors[name] = {"dtype": stored.dtype, "stored": _array_json(stored.array, put)}
        if stored.scales is not None:
            tensors[name]["scales"] = _array_json(stored.scales, put)
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


def _parse(header: Mapping[str, Any], streams: bytes) -> Packed:
    """The inverse of `_describe`."""
    place = 0

    def take(reference: list[Any]) -> Stream:
        nonlocal place
        coder, size = reference
        place += size
        return Stream(coder, streams[place - size : place])

    files = {name: take(reference) for name, reference in header["files"].items()}
    tensors: dict[str, Stored] = {}
    for name, entry in header["tensors"].items():
        if "same_as" in entry:
            tensors[name] = tensors[entry["same_as"]]
            continue
        array = _array(entry["stored"], take)
        scales = _array(entry["scales"], take) if "scales" in entry else None
        tensors[name] = Stored(entry["dtype"], array, scales)
    return Packed(files, tensors)


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
