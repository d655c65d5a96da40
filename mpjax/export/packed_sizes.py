"""Bytes of a packed model by section, beside the information-theoretic bound."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpjax.models.packed.coding import Coded
from mpjax.models.packed.file import PackedModel, PackedTensor
from mpjax.report.table import percent, render

_EMBEDDING = re.compile(r"(^|\.)embeddings\.")
_LAYER = re.compile(r"(^|\.)layer\.\d+\.")
_MASK, _VALUES, _REST = "encoder mask", "encoder values", "encoder biases and norms"
_SIGNS = "signs of zeros"  # −0.0, where a folder has it
_SECTIONS = (_MASK, _VALUES, _REST, "embeddings", "pooler and head", _SIGNS)


@dataclass(frozen=True)
class Section:
    """Bytes of one kind of content in the file, and their lower bound for independent entries."""

    name: str
    size: int
    bound: float | None = None  # in bytes; None if unknown

    @property
    def ratio(self) -> float | None:
        """Size / bound."""
        return self.size / self.bound if self.bound else None


@dataclass(frozen=True)
class PackedSizes:
    """Sections of a packed model, and the encoder matrices as one section more."""

    sections: tuple[Section, ...]
    encoder: Section
    weights: int  # in the encoder matrices
    kept: int
    bits: int  # per stored value of an encoder matrix
    dense: int  # bytes of all tensors in a plain folder

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return sum(section.size for section in self.sections)

    def to_json(self) -> dict[str, Any]:
        """Bytes and bounds of the file, its sections and the encoder matrices, as JSON values."""
        return {
            "bytes": self.total,
            "dense_bytes": self.dense,
            "parts": {section.name: _section_json(section) for section in self.sections},
            "encoder": {
                "weights": self.weights,
                "kept": self.kept,
                "bits_per_value": self.bits,
                **_section_json(self.encoder),
            },
        }

    def table(self) -> str:
        """Megabytes by section, then the encoder against its bound."""
        header = ["part", "MB", "bound", "ratio"]
        rows = [
            [name, _megabytes(size), _megabytes(bound), f"{size / bound:.3f}" if bound else "-"]
            for name, size, bound in [
                *((section.name, section.size, section.bound) for section in self.sections),
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


def measure_packed(packed: PackedModel, total: int) -> PackedSizes:
    """Measures the sections of a packed model of ``total`` bytes.

    The bound is n·H(density) bits for the mask of a matrix of n entries, plus all bits of every
    kept value. It assumes a random mask and uniform values: structure in either goes below it.
    """
    size: Counter[str] = Counter()
    bound: defaultdict[str, float] = defaultdict(float)
    matrices: list[Coded] = []
    for name, tensor in _distinct(packed):
        array, scales = tensor.array, tensor.scales
        mask, values = _section_names(name, array)
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
    sections = [Section(name, size[name], bound[name] or None) for name in _SECTIONS]
    sections += [Section("tokenizer, config, card", files), Section("header and checksum", header)]
    return PackedSizes(
        sections=tuple(sections),
        encoder=Section("encoder", size[_MASK] + size[_VALUES], bound[_MASK] + bound[_VALUES]),
        weights=sum(_count(array) for array in matrices),
        kept=sum(array.kept for array in matrices),
        bits=max((_bits(array) for array in matrices), default=0),
        dense=sum(
            _count(tensor.array) * np.dtype(tensor.dtype).itemsize
            for tensor in packed.tensors.values()
        ),
    )


def entropy(density: float) -> float:
    """Binary entropy ``H(p) = −p·log₂ p − (1−p)·log₂(1−p)``, bits per entry of a mask.

    >>> entropy(0.5), entropy(0.0), round(entropy(0.06), 4)
    (1.0, 0.0, 0.3274)
    """
    both = np.array([density, 1 - density])
    return float(-np.sum(both * np.log2(np.where(both > 0, both, 1))) + 0.0)


def is_embedding(name: str) -> bool:
    """Whether a tensor of this name belongs to the embeddings.

    >>> is_embedding("bert.embeddings.LayerNorm.bias"), is_embedding("qa_outputs.weight")
    (True, False)
    """
    return _EMBEDDING.search(name) is not None


def _distinct(packed: PackedModel) -> list[tuple[str, PackedTensor]]:
    """Every distinct tensor under the first of its names."""
    seen: dict[int, tuple[str, PackedTensor]] = {}
    for name, tensor in packed.tensors.items():
        seen.setdefault(id(tensor), (name, tensor))
    return list(seen.values())


def _section_names(name: str, array: Coded) -> tuple[str, str]:
    """Sections of a tensor's mask and of its values."""
    if is_embedding(name):
        return "embeddings", "embeddings"
    if not _LAYER.search(name):
        return "pooler and head", "pooler and head"
    if name.endswith(".weight") and len(array.shape) == 2:
        return _MASK, _VALUES
    return _REST, _REST


def _mask_bound(array: Coded) -> float:
    """``n·H(density) / 8`` bytes."""
    size = _count(array)
    return size * entropy(array.kept / size) / 8 if size else 0.0


def _count(array: Coded) -> int:
    return math.prod(array.shape)


def _bits(array: Coded) -> int:
    return 8 * np.dtype(array.dtype).itemsize


def _section_json(section: Section) -> dict[str, Any]:
    return {"bytes": section.size, "bound_bytes": section.bound, "ratio": section.ratio}


def _megabytes(size: float | None) -> str:
    return "-" if size is None else f"{size / 1e6:.3f}"
