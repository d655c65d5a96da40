"""How much of an encoder is left, counted in the tensors of its Hugging Face folder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpjax.errors import InputError
from mpjax.report.table import percent, render

# "bert.encoder.layer.3.attention.self.query.weight"; the families name what follows the number.
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.(.+)\.(weight|bias|gamma|beta)$")
_SHORT = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attn out",
    "intermediate.dense": "ffn in",
    "output.dense": "ffn out",
    # DistilBERT's names
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
    """One prunable matrix of an encoder: its layer, its type, kept and all entries."""

    layer: int
    type: str
    kept: int
    size: int


@dataclass(frozen=True)
class Density:
    """What is left of an encoder.

    `linear` = kept / all entries of the matrices; `encoder_remaining` = (kept entries + all biases
    and LayerNorm) / all encoder parameters, the published count; both in [0, 1]. Sizes are those
    of the model before heads and units were removed from it.
    """

    matrices: tuple[MatrixCount, ...]
    others: Mapping[int, tuple[int, int]]  # by layer: biases and LayerNorm, left and all

    @property
    def linear(self) -> float:
        return _ratio(self.matrices)

    @property
    def encoder_remaining(self) -> float:
        return self._remaining(*self._layers)

    def to_json(self) -> dict[str, Any]:
        """Totals, and densities per layer, per type and per matrix."""
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
        others = sum(left for left, _ in self.others.values())
        return (
            f"{render(header, rows)}\n\n"
            f"linear density     {percent(self.linear)}  "
            f"({kept:,} of {size:,} prunable weights are not zero)\n"
            f"encoder remaining  {percent(self.encoder_remaining)}  "
            f"(with all {others:,} biases and LayerNorm parameters of the encoder)"
        )

    def _count(self, *layers: int) -> tuple[int, int]:
        """(left, all) parameters of layers; of the matrices those that are not zero are left."""
        chosen = [m for m in self.matrices if m.layer in layers]
        others = [self.others[layer] for layer in layers]
        return (
            sum(m.kept for m in chosen) + sum(left for left, _ in others),
            sum(m.size for m in chosen) + sum(whole for _, whole in others),
        )

    def _remaining(self, *layers: int) -> float:
        left, whole = self._count(*layers)
        return left / whole

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
    tensors: Mapping[str, np.ndarray], full: Mapping[str, tuple[int, ...]] | None = None
) -> Density:
    """Counts the non-zero entries of the encoder matrices among named tensors.

    An encoder matrix is a 2-D `weight` below ``layer.N``; embeddings, pooler and head count
    nowhere.

    Args:
      full: names and shapes before heads and units were removed; those of ``tensors`` unless given.

    >>> import numpy as np
    >>> name = "bert.encoder.layer.0.output.dense"
    >>> left = measure({name + ".weight": np.array([[1.0, 0.0]]), name + ".bias": np.zeros(2)})
    >>> left.linear, left.encoder_remaining
    (0.5, 0.75)
    """
    kept, _ = _sums({name: int(np.count_nonzero(tensor)) for name, tensor in tensors.items()})
    stored = {name: tensor.size for name, tensor in tensors.items()}
    _, others = _sums(stored)
    whole = stored if full is None else {name: math.prod(shape) for name, shape in full.items()}
    sizes, all_others = _sums(whole)
    if not kept:
        raise InputError("the model has no encoder layers: no matrix is named ...layer.N....weight")
    place = {short: i for i, short in enumerate(_ORDER)}
    found = sorted(kept, key=lambda m: (m[0], place.get(m[1], len(place)), m[1]))
    return Density(
        tuple(MatrixCount(*matrix, kept[matrix], sizes[matrix]) for matrix in found),
        {layer: (count, all_others[layer]) for layer, count in others.items()},
    )


def _sums(counts: Mapping[str, int]) -> tuple[dict[tuple[int, str], int], dict[int, int]]:
    """Counts of named tensors: of each matrix by (layer, type), of all else by layer."""
    matrices: dict[tuple[int, str], int] = {}
    others: dict[int, int] = {}
    for name, count in counts.items():
        match = _LAYER.search(name)
        if match is None:
            continue
        layer, type, leaf = int(match[1]), match[2], match[3]
        others.setdefault(layer, 0)
        if leaf == "weight" and "norm" not in type.lower():
            matrices[layer, _SHORT.get(type, type)] = count
        else:
            others[layer] += count
    return matrices, others


def _ratio(matrices: Iterable[MatrixCount]) -> float:
    chosen = list(matrices)
    return sum(m.kept for m in chosen) / sum(m.size for m in chosen)
