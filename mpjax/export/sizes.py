"""Where the bytes of a packed model are, beside what information theory asks for."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpjax.models.packed.coding import Coded
from mpjax.models.packed.file import Packed, Stored
from mpjax.report.table import percent, render

_EMBEDDING = re.compile(r"(^|\.)embeddings\.")
_LAYER = re.compile(r"(^|\.)layer\.\d+\.")
_MASK, _VALUES, _REST = "encoder mask", "encoder values", "encoder biases and norms"
_SIGNS = "signs of zeros"  # −0.0, where a folder has it
_PARTS = (_MASK, _VALUES, _REST, "embeddings", "pooler and head", _SIGNS)


@dataclass(frozen=True)
class Part:
    """Bytes in the file; the fewest that independent entries of this density need, if known."""

    name: str
    size: int
    bound: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.size / self.bound if self.bound else None


@dataclass(frozen=True)
class Sizes:
    """The parts of a packed model; the encoder's matrices once more, as one."""

    parts: tuple[Part, ...]
    encoder: Part
    weights: int  # of the encoder's matrices
    kept: int
    bits: int  # of one stored value of theirs
    dense: int  # bytes of all tensors in a plain folder

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(part.size for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Bytes of the file, of its parts and of the encoder's matrices, with their bounds."""
        return {
            "bytes": self.total,
            "dense_bytes": self.dense,
            "parts": {part.name: _part_json(part) for part in self.parts},
            "encoder": {
                "weights": self.weights,
                "kept": self.kept,
                "bits_per_value": self.bits,
                **_part_json(self.encoder),
            },
        }

    def table(self) -> str:
        """Megabytes by part, then the encoder against its bound."""
        header = ["part", "MB", "bound", "ratio"]
        rows = [
            [name, _megabytes(size), _megabytes(bound), f"{size / bound:.3f}" if bound else "-"]
            for name, size, bound in [
                *((part.name, part.size, part.bound) for part in self.parts),
                ("file", self.total, None),
                ("weights in a plain folder", self.dense, None),
            ]
        ]
        return (
            f"{render(header, rows)}\n\n"
            f"encoder matrices  {percent(self.kept / max(self.weights, 1))} of {self.weights:,} "
            f"weights in {_megabytes(self.encoder.size)} MB\n"
            f"bound             {_megabytes(self.encoder.bound)} MB = n·H(density) of each matrix "
            f"+ {self.bits} bits per kept weight; ratio {self.encoder.ratio or 0:.3f}"
        )


def measure_packed(packed: Packed, total: int) -> Sizes:
    """The sizes in a packed model of `total` bytes.

    The bound takes the kept entries of a matrix as scattered at random and their values as evenly
    spread over the stored type: structure in either may go below it.
    """
    size: Counter[str] = Counter()
    bound: defaultdict[str, float] = defaultdict(float)
    matrices: list[Coded] = []
    for name, stored in _once(packed):
        array, scales = stored.array, stored.scales
        mask, values = _part_names(name, array)
        size[mask] += len(array.mask.stream.data)
        size[values] += len(array.values.data)
        size[_SIGNS] += len(array.signs.stream.data)
        if scales is not None:
            size[values] += len(scales.mask.stream.data) + len(scales.values.data)
        bound[mask] += _mask_bound(array)
        bound[values] += array.kept * _bits(array) / 8
        if mask == _MASK:
            matrices.append(array)
    files = sum(len(stream.data) for stream in packed.files.values())
    header = total - size.total() - files
    parts = [Part(name, size[name], bound[name] or None) for name in _PARTS]
    parts += [Part("tokenizer and config", files), Part("header and checksum", header)]
    return Sizes(
        parts=tuple(parts),
        encoder=Part("encoder", size[_MASK] + size[_VALUES], bound[_MASK] + bound[_VALUES]),
        weights=sum(_count(array) for array in matrices),
        kept=sum(array.kept for array in matrices),
        bits=max((_bits(array) for array in matrices), default=0),
        dense=sum(
            _count(stored.array) * np.dtype(stored.dtype).itemsize
            for stored in packed.tensors.values()
        ),
    )


def entropy(density: float) -> float:
    """``H(p) = −p·log₂ p − (1−p)·log₂(1−p)``, bits per entry of a mask.

    >>> entropy(0.5), entropy(0.0), round(entropy(0.06), 4)
    (1.0, 0.0, 0.3274)
    """
    both = np.array([density, 1 - density])
    return float(-np.sum(both * np.log2(np.where(both > 0, both, 1))) + 0.0)


def _once(packed: Packed) -> list[tuple[str, Stored]]:
    """Every stored tensor under the first of its names."""
    seen: dict[int, tuple[str, Stored]] = {}
    for name, stored in packed.tensors.items():
        seen.setdefault(id(stored), (name, stored))
    return list(seen.values())


def _part_names(name: str, array: Coded) -> tuple[str, str]:
    """Where the mask and the values of a tensor are counted."""
    if _EMBEDDING.search(name):
        return "embeddings", "embeddings"
    if not _LAYER.search(name):
        return "pooler and head", "pooler and head"
    if name.endswith(".weight") and len(array.shape) == 2:
        return _MASK, _VALUES
    return _REST, _REST


def _mask_bound(array: Coded) -> float:
    size = _count(array)
    return size * entropy(array.kept / size) / 8 if size else 0.0


def _count(array: Coded) -> int:
    return math.prod(array.shape)


def _bits(array: Coded) -> int:
    return 8 * np.dtype(array.dtype).itemsize


def _part_json(part: Part) -> dict[str, Any]:
    return {"bytes": part.size, "bound_bytes": part.bound, "ratio": part.ratio}


def _megabytes(size: float | None) -> str:
    return "-" if size is None else f"{size / 1e6:.3f}"
