"""Density of an encoder, counted in the tensors of its Hugging Face folder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpjax.errors import InputError
from mpjax.report.table import percent, render

# Matches "bert.encoder.layer.3.attention.self.query.weight"; names within a layer depend on the
# family. A matrix type missing in _SHORT is reported under its full name.
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.(.+)\.(weight|bias|gamma|beta)$")
_SHORT = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attn out",
    "intermediate.dense": "ffn in",
    "output.dense": "ffn out",
    # DistilBERT
    "attention.q_lin": "query",
    "attention.k_lin": "key",
    "attention.v_lin": "value",
    "attention.out_lin": "attn out",
    "ffn.lin1": "ffn in",
    "ffn.lin2": "ffn out",
}
_ORDER = tuple(dict.fromkeys(_SHORT.values()))


@dataclass(frozen=True)
class MatrixCount:
    """Kept and all entries of one prunable matrix."""

    layer: int
    type: str
    kept: int
    size: int


@dataclass(frozen=True)
class EncoderDensity:
    """Remaining weights of an encoder, counted in two ways, both in [0, 1].

    * ``linear``: kept / all entries of the matrices;
    * ``encoder_remaining``: (kept entries + biases and LayerNorm) / all encoder parameters, the
      count published by Sanh et al. 2020.

    Sizes are those before heads and FFN units were removed.
    """

    matrices: tuple[MatrixCount, ...]
    others: Mapping[int, tuple[int, int]]  # layer -> biases and LayerNorm, (remaining, all)

    @property
    def linear(self) -> float:
        """Kept / all entries of the matrices."""
        return _ratio(self.matrices)

    @property
    def encoder_remaining(self) -> float:
        """Remaining / all encoder parameters."""
        return self._remaining(*self._layers)

    def to_json(self) -> dict[str, Any]:
        """Totals, and densities per layer, per type and per matrix, as JSON values."""
        return {
            "linear_density": self.linear,
            "encoder_remaining": self.encoder_remaining,
            "prunable_weights": sum(m.size for m in self.matrices),
            "kept_weights": sum(m.kept for m in self.matrices),
            "encoder_parameters": self._count(*self._layers)[1],
            "layers": [
                {
                    "layer": layer,
                    "linear_density": _ratio(self._of(layer=layer)),
                    "encoder_remaining": self._remaining(layer),
                    "matrices": {m.type: m.kept / m.size for m in self._of(layer=layer)},
                }
                for layer in self._layers
            ],
            "types": {type: _ratio(self._of(type=type)) for type in self._types},
        }

    def table(self) -> str:
        """Densities by layer and matrix type, then the totals."""
        header = ["layer", *self._types, "all", "encoder remaining"]
        rows = [
            [
                str(entry["layer"]),
                *(percent(entry["matrices"].get(type)) for type in self._types),
                percent(entry["linear_density"]),
                percent(entry["encoder_remaining"]),
            ]
            for entry in self.to_json()["layers"]
        ]
        total = [percent(_ratio(self._of(type=type))) for type in self._types]
        rows.append(["all", *total, percent(self.linear), percent(self.encoder_remaining)])
        kept, size = (sum(getattr(m, name) for m in self.matrices) for name in ("kept", "size"))
        others = sum(remaining for remaining, _ in self.others.values())
        return (
            f"{render(header, rows)}\n\n"
            f"linear density     {percent(self.linear)}  "
            f"({kept:,} of {size:,} prunable weights are not zero)\n"
            f"encoder remaining  {percent(self.encoder_remaining)}  "
            f"(with all {others:,} biases and LayerNorm parameters of the encoder)"
        )

    def _count(self, *layers: int) -> tuple[int, int]:
        """(remaining, all) parameters of layers."""
        chosen = [m for m in self.matrices if m.layer in layers]
        others = [self.others[layer] for layer in layers]
        return (
            sum(m.kept for m in chosen) + sum(remaining for remaining, _ in others),
            sum(m.size for m in chosen) + sum(size for _, size in others),
        )

    def _remaining(self, *layers: int) -> float:
        remaining, size = self._count(*layers)
        return remaining / size

    @property
    def _layers(self) -> list[int]:
        return sorted({m.layer for m in self.matrices})

    @property
    def _types(self) -> list[str]:
        found = {m.type for m in self.matrices}
        known = [short for short in _ORDER if short in found]
        return known + sorted(found - set(known))

    def _of(self, *, layer: int | None = None, type: str | None = None) -> list[MatrixCount]:
        return [
            m
            for m in self.matrices
            if (layer is None or m.layer == layer) and (type is None or m.type == type)
        ]


def measure(
    tensors: Mapping[str, np.ndarray], dense: Mapping[str, tuple[int, ...]] | None = None
) -> EncoderDensity:
    """Counts the non-zero entries of the encoder matrices among named tensors.

    An encoder matrix is a 2-D ``weight`` below ``layer.N``; embeddings, pooler and head are not
    counted.

    Args:
      dense: names and shapes before heads and FFN units were removed; default: as in ``tensors``.
        Tensors of other names are not counted.

    >>> import numpy as np
    >>> name = "bert.encoder.layer.0.output.dense"
    >>> density = measure({name + ".weight": np.array([[1.0, 0.0]]), name + ".bias": np.zeros(2)})
    >>> density.linear, density.encoder_remaining
    (0.5, 0.75)
    """
    if dense is not None:
        known = set(map(_key, dense))
        tensors = {name: tensor for name, tensor in tensors.items() if _key(name) in known}
    kept, _ = _sums({name: int(np.count_nonzero(tensor)) for name, tensor in tensors.items()})
    stored = {name: tensor.size for name, tensor in tensors.items()}
    _, others = _sums(stored)
    before = stored if dense is None else {n: math.prod(shape) for n, shape in dense.items()}
    sizes, all_others = _sums(before)
    if not kept:
        raise InputError("the model has no encoder layers: no matrix is named ...layer.N....weight")
    rank = {short: i for i, short in enumerate(_ORDER)}
    found = sorted(kept, key=lambda m: (m[0], rank.get(m[1], len(rank)), m[1]))
    return EncoderDensity(
        tuple(MatrixCount(*matrix, kept[matrix], sizes[matrix]) for matrix in found),
        {layer: (count, all_others[layer]) for layer, count in others.items()},
    )


def encoder_matrix(name: str) -> tuple[int, str] | None:
    """Layer and short type of an encoder matrix by the name of its tensor; None for other tensors.

    >>> encoder_matrix("bert.encoder.layer.3.attention.self.query.weight")
    (3, 'query')
    """
    match = _LAYER.search(name)
    if match is None or match[3] != "weight" or "norm" in match[2].lower():
        return None
    return int(match[1]), _SHORT.get(match[2], match[2])


def _key(name: str) -> tuple[str, str, str]:
    """Layer, module and kind of a tensor of an encoder layer, the same in every spelling."""
    match = _LAYER.search(name)
    if match is None:
        return "", "", ""
    return match[1], match[2], {"gamma": "weight", "beta": "bias"}.get(match[3], match[3])


def _sums(counts: Mapping[str, int]) -> tuple[dict[tuple[int, str], int], dict[int, int]]:
    """Sums counts of named tensors: matrices by (layer, type), other parameters by layer."""
    matrices: dict[tuple[int, str], int] = {}
    others: dict[int, int] = {}
    for name, count in counts.items():
        match = _LAYER.search(name)
        if match is None:
            continue
        layer = int(match[1])
        others.setdefault(layer, 0)
        if (matrix := encoder_matrix(name)) is not None:
            matrices[matrix] = count
        else:
            others[layer] += count
    return matrices, others


def _ratio(matrices: Iterable[MatrixCount]) -> float:
    chosen = list(matrices)
    return sum(m.kept for m in chosen) / sum(m.size for m in chosen)
