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
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mpjax.errors import InputError
from mpjax.files import parse_object, read_bytes, shown, write_atomically
from mpjax.models.families import CONFIG_JSON, known_config
from mpjax.models.packed.coding import Stream, decompress
from mpjax.models.packed.header import PackedTensor, describe, parse
from mpjax.models.room import check_room

__all__ = ["PackedModel", "PackedTensor", "is_packed", "read_packed", "small_files", "write_packed"]

PACKED_SUFFIX = ".mpz"
FILE_FORMAT = 1
_MAGIC = b"MPJAXPK"
_SUM = hashlib.sha256
_AGAIN = "it was not made by mpjax pack, or changed since; pack the model again"
LARGEST_FILE = 1 << 26  # bytes of a config or tokenizer file: the largest known have 2^25
_LONGEST_HEADER = 1 << 24  # bytes: 256 layers take half of it
_SPARE = 1 << 28  # bytes of tensors beside the model's
_START = len(_MAGIC) + 1 + 8  # offset of the header


@dataclass(frozen=True)
class PackedModel:
    """Compressed files and tensors by name; equal tensors may be one object under several names.

    ``source`` names the model in messages.
    """

    files: Mapping[str, Stream]
    tensors: Mapping[str, PackedTensor]
    source: str = field(default="the packed model", compare=False)

    def read_file(self, name: str) -> bytes:
        """Decompresses one of the small files; `InputError` if it is damaged or too big."""
        try:
            return decompress(self.files[name], LARGEST_FILE, exact=False)
        except ValueError as error:
            raise self._wrong(f"file {name} {error}") from error

    def restore(self) -> dict[str, np.ndarray]:
        """Decodes every tensor, one under several names once.

        Raises:
          InputError: streams that do not fit the header.
        """
        restored: dict[int, np.ndarray] = {}
        for name, tensor in self.tensors.items():
            if id(tensor) in restored:
                continue
            try:
                restored[id(tensor)] = tensor.restore()
            except ValueError as error:
                raise self._wrong(f"tensor {shown(name)} {error}") from error
        return {name: restored[id(tensor)] for name, tensor in self.tensors.items()}

    def _wrong(self, reason: str) -> InputError:
        return InputError(f"{self.source}: {reason}; {_AGAIN}")


def is_packed(path: str | Path) -> bool:
    """Whether a path is a packed model: a file that ends in ``.mpz``."""
    return Path(path).suffix == PACKED_SUFFIX and os.path.isfile(path)


def read_packed(path: Path) -> PackedModel:
    """Reads a packed model; tensors stay compressed until restored.

    The checksum tells damage, not origin: every size in the header is checked against the bytes,
    the model of its config and the memory at hand before anything is restored.

    Raises:
      InputError: a file that is cut short, damaged, not a packed model, of a later format, or with
        a header that does not fit its streams.
    """
    data = read_bytes(path)
    body, checksum = memoryview(data)[: -_SUM().digest_size], data[-_SUM().digest_size :]
    if len(body) < _START or _SUM(body).digest() != checksum or not data.startswith(_MAGIC):
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
    try:
        header = parse_object(path, _inflate(body[_START:end]))
        files, tensors = parse(header, bytes(body[end:]))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}; {_AGAIN}") from error
    packed = PackedModel(files, tensors, str(path))
    _check_claims(packed, len(data))
    return packed


def _inflate(compressed: memoryview) -> bytes:
    """The header's text; ValueError if it is damaged or too long."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(compressed, _LONGEST_HEADER)
    except zlib.error as error:
        raise ValueError("its header is damaged") from error
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"its header is damaged, or longer than {_LONGEST_HEADER} bytes")
    return text


def _check_claims(packed: PackedModel, size: int) -> None:
    """Raises `InputError` for tensors larger than the model's, or than the memory at hand.

    Zeros take no bytes in the file, so its size says little about the tensors.
    """
    claimed = sum(tensor.nbytes for tensor in packed.tensors.values())
    check_room(claimed, packed.source)
    allowed = _SPARE + 3 * size
    if CONFIG_JSON in packed.files:
        path = Path(packed.source) / CONFIG_JSON
        config = known_config(path, packed.read_file(CONFIG_JSON))
        if config is None:
            return
        # Twice: for copies of tied tables, or scores beside the weights; 8 bytes: float64.
        allowed += 2 * 8 * config.dense_weights
    if claimed > allowed:
        raise InputError(
            f"{packed.source} claims {claimed:,} bytes of tensors, where its config.json describes "
            f"a model of at most {allowed:,}; {_AGAIN}"
        )


def small_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Content of the named files of a model folder or packed model; absent ones are left out."""
    if is_packed(folder):
        packed = read_packed(folder)
        return {name: packed.read_file(name) for name in names if name in packed.files}
    found: dict[str, bytes] = {}
    for path in (folder / name for name in names if os.path.isfile(folder / name)):
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(
                f"{path} has more than {LARGEST_FILE:,} bytes; no model has such a one"
            )
        found[path.name] = read_bytes(path)
    return found


def write_packed(path: Path, packed: PackedModel, *, overwrite: bool = True) -> int:
    """Writes a packed model atomically; returns its size in bytes."""
    header, streams = describe(packed.files, packed.tensors)
    text = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    parts = [_MAGIC + bytes([FILE_FORMAT]), len(text).to_bytes(8, "little"), text, *streams]
    checksum = _SUM()
    for part in parts:
        checksum.update(part)
    parts.append(checksum.digest())
    needs = sum(map(len, parts))
    write_atomically(path, lambda file: file.writelines(parts), needs, overwrite=overwrite)
    return path.stat().st_size
