"""Lossless coding of one sparse array: mask of kept entries, their values, signs of the zeros.

Zeros of either sign are dropped; every other entry is kept, NaN payloads and denormals included. An
array is three streams:

* the mask, true where an entry is kept;
* the values of the kept entries in row-major order, split into planes: all first bytes
  (little-endian), all second bytes, and so on;
* the signs, a mask over the dropped entries, true at each −0.0.

A mask has one of four forms, the shorter of ``bitmap`` and ``gaps`` where it is mixed:

* ``none`` and ``all`` need no bytes;
* ``bitmap``: one bit per entry, the most significant bit of a byte first;
* ``gaps``: for each true entry the number of false ones before it, as the sum of bytes: any number
  of 255s, then one smaller byte.

Streams are compressed with the standard library: ``huffman`` (DEFLATE without matches, raw) comes
within 1% of the entropy of independent entries; ``lzma`` (LZMA2, raw), tried on masks, finds
structure such as blocks.
"""

import io
import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMS = ("none", "all", "bitmap", "gaps")
_ESCAPE = 255  # byte of a gap that continues in the next byte
# No literal context bits (lc, lp, pb): neighbours tell nothing about each other but by repeating.
_LZMA2 = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0}]


@dataclass(frozen=True)
class Stream:
    """Compressed bytes and the name of their coder."""

    coder: str
    data: bytes


@dataclass(frozen=True)
class Mask:
    """Booleans as a stream, in one of the four forms."""

    form: str
    stream: Stream


@dataclass(frozen=True)
class Coded:
    """An array as streams; ``kept`` counts its non-zero entries."""

    dtype: str
    shape: tuple[int, ...]
    kept: int
    mask: Mask
    values: Stream
    signs: Mask


def encode_array(array: np.ndarray) -> Coded:
    """Encodes an array as streams; `decode_array` restores it bit for bit.

    >>> coded = encode_array(np.array([[0.0, -0.0], [1.5, 0.0]], np.float32))
    >>> coded.kept, decode_array(coded)
    (1, array([[ 0. , -0. ],
           [ 1.5,  0. ]], dtype=float32))
    """
    width = array.dtype.itemsize
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{width}")
    kept = bits != 0
    kept &= bits != bits.dtype.type(1 << (8 * width - 1))  # the sign alone
    values = bits if kept.all() else bits[kept]
    return Coded(
        dtype=array.dtype.name,
        shape=array.shape,
        kept=int(np.count_nonzero(kept)),
        mask=_encode_mask(kept),
        values=_compress_planes(values.view(np.uint8).reshape(-1, width)),
        signs=_encode_mask(bits[~kept] != 0),
    )


def decode_array(coded: Coded) -> np.ndarray:
    """Restores an array; the inverse of `encode_array`.

    Nothing grows beyond what dtype, shape and ``kept`` imply, which the caller has checked.

    Raises:
      ValueError: streams of another array than that.
    """
    dtype, size = np.dtype(coded.dtype), math.prod(coded.shape)
    data = decompress(coded.values, coded.kept * dtype.itemsize)
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    values = np.ascontiguousarray(planes.T).reshape(-1).view(f"u{dtype.itemsize}")
    kept = _decode_mask(coded.mask, size, coded.kept)
    bits = np.zeros(size, values.dtype)
    bits[kept] = values
    if coded.signs.form != "none":
        negative = _decode_mask(coded.signs, size - coded.kept)
        bits[~kept] = negative.astype(bits.dtype) << (8 * dtype.itemsize - 1)
    return bits.view(dtype).reshape(coded.shape)


def compress(data: bytes, *coders: str) -> Stream:
    """Compresses data with each of the coders and keeps the shortest, or the data as it is.

    >>> compress(b"again and " * 20, "huffman", "lzma").coder
    'lzma'
    """
    made = (Stream(name, CODERS[name][0](data)) for name in ("stored", *coders))
    return min(made, key=lambda stream: len(stream.data))


def _compress_planes(bytes_of: np.ndarray) -> Stream:
    """`compress` of the columns of (entries, bytes), one at a time: no copy of all of them."""
    out, coder = io.BytesIO(), _huffman_coder()
    for plane in bytes_of.T:
        out.write(coder.compress(np.ascontiguousarray(plane).data))
    out.write(coder.flush())
    if out.tell() < bytes_of.size:
        return Stream("huffman", out.getvalue())
    return Stream("stored", bytes_of.T.tobytes())


def decompress(stream: Stream, size: int, *, exact: bool = True) -> bytes:
    """Restores data; the inverse of `compress`. Never holds more than ``size`` bytes and one.

    Raises:
      ValueError: other data than ``size`` bytes, or than at most ``size`` if not ``exact``.

    >>> decompress(compress(b"again and " * 20, "lzma"), 200) == b"again and " * 20
    True
    """
    try:
        data = CODERS[stream.coder][1](stream.data, size + 1)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"has a damaged {stream.coder} stream") from error
    if len(data) > size or (exact and len(data) != size):
        raise ValueError(f"has a stream of {len(data)} bytes or more where {size} belong")
    return data


def _encode_mask(mask: np.ndarray) -> Mask:
    if not mask.any():
        return Mask("none", Stream("stored", b""))
    if mask.all():
        return Mask("all", Stream("stored", b""))
    forms = {"bitmap": np.packbits(mask).tobytes(), "gaps": _gaps(mask)}
    short = {form: len(compress(data, "huffman").data) for form, data in forms.items()}
    form = min(short, key=lambda name: short[name])
    return Mask(form, compress(forms[form], "huffman", "lzma"))


def _decode_mask(coded: Mask, size: int, count: int | None = None) -> np.ndarray:
    """The mask of ``size`` entries; ``count`` of them are true, where that is known."""
    if coded.form == "bitmap":
        data = decompress(coded.stream, -(-size // 8))
        mask = np.unpackbits(np.frombuffer(data, np.uint8), count=size).astype(bool)
    elif coded.form == "gaps":
        # A true entry takes one byte, and 255 false ones one more.
        most = size if count is None else count + (size - count) // _ESCAPE
        data = decompress(coded.stream, most, exact=False)
        positions = _positions(np.frombuffer(data, np.uint8))
        if len(positions) and positions[-1] >= size:
            raise ValueError("has a mask with entries beyond its end")
        mask = np.zeros(size, bool)
        mask[positions] = True
    else:
        decompress(coded.stream, 0)
        mask = np.full(size, coded.form == "all")
    if count is not None and np.count_nonzero(mask) != count:
        raise ValueError(f"has a mask of {np.count_nonzero(mask)} kept values, and {count} values")
    return mask


def _gaps(mask: np.ndarray) -> bytes:
    gaps = np.diff(np.flatnonzero(mask), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    coded = np.full(len(gaps) + int(escapes.sum()), _ESCAPE, np.uint8)
    coded[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return coded.tobytes()


def _positions(gaps: np.ndarray) -> np.ndarray:
    """Indices of the true entries: the sum of all gaps, plus the true entries, before each."""
    passed = np.cumsum(gaps, dtype=np.int64)[gaps != _ESCAPE]
    return passed + np.arange(len(passed))


def _huffman_coder() -> Any:
    return zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)


def _huffman(data: bytes) -> bytes:
    coder = _huffman_coder()
    return coder.compress(data) + coder.flush()


def _decoded(coder: Any, data: bytes, most: int) -> bytes:
    """At most ``most`` bytes of a stream; EOFError where it goes on or ends before its end."""
    restored = coder.decompress(data, most)
    if len(restored) < most and (not coder.eof or coder.unused_data):
        raise EOFError
    return restored


# Compression, and decompression of at most so many bytes.
CODERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes]]] = {
    "stored": (bytes, lambda data, most: data[:most]),
    "huffman": (_huffman, lambda data, most: _decoded(zlib.decompressobj(-15), data, most)),
    "lzma": (
        lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA2),
        lambda data, most: _decoded(
            lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA2), data, most
        ),
    ),
}
