"""How much of an encoder is left, counted in the tensors of its Hugging Face folder."""

from __future__ import annotations

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
    and LayerNorm) / all encoder parameters, the published count; both in [0, 1].
    """

    matrices: tuple[MatrixCount, ...]
    others: int  # biases and LayerNorm parameters of the encoder

    @property
    def linear(self) -> float:
        return _ratio(self.matrices)

    @property
    def encoder_remaining(self) -> float:
        return _remaining(self.matrices, self.others)

    def to_json(self) -> dict[str, Any]:
        """Totals, and densities per layer, per type and per matrix."""
        return {
            "linear_density": self.linear,
            "encoder_remaining": self.encoder_remaining,
            "prunable_weights": sum(m.size for m in self.matrices),
            "kept_weights": sum(m.kept for m in self.matrices),
            "encoder_parameters": sum(m.size for m in self.matrices) + self.others,
            "layers": [
                {
                    "layer": layer,
                    "linear_density": _ratio(self._of(layer=layer)),
                    "encoder_remaining": _remaining(
                        self._of(layer=layer), self.others // len(self._layers)
                    ),
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
        return (
            f"{render(header, rows)}\n\n"
            f"linear density     {percent(self.linear)}  "
            f"({kept:,} of {size:,} prunable weights are not zero)\n"
            f"encoder remaining  {percent(self.encoder_remaining)}  "
            f"(with all {self.others:,} biases and LayerNorm parameters of the encoder)"
        )

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


def measure(tensors: Mapping[str, np.ndarray]) -> Density:
    """Counts the non-zero entries of the encoder matrices among named tensors.

    An encoder matrix is a 2-D `weight` below ``layer.N``; embeddings, pooler and head count
    nowhere.

    >>> import numpy as np
    >>> name = "bert.encoder.layer.0.output.dense"
    >>> left = measure({name + ".weight": np.array([[1.0, 0.0]]), name + ".bias": np.zeros(2)})
    >>> left.linear, left.encoder_remaining
    (0.5, 0.75)
    """
    matrices, others = [], 0
    for name, tensor in tensors.items():
        match = _LAYER.search(name)
        if match is None:
            continue
        layer, type, leaf = match.groups()
        if leaf == "weight" and tensor.ndim == 2:
            kept = int(np.count_nonzero(tensor))
            matrices.append(MatrixCount(int(layer), _SHORT.get(type, type), kept, tensor.size))
        else:
            others += tensor.size
    if not matrices:
        raise InputError("the model has no encoder layers: no matrix is named ...layer.N....weight")
    place = {short: i for i, short in enumerate(_ORDER)}
    matrices.sort(key=lambda m: (m.layer, place.get(m.type, len(place)), m.type))
    return Density(tuple(matrices), others)


def _ratio(matrices: Iterable[MatrixCount]) -> float:
    chosen = list(matrices)
    return sum(m.kept for m in chosen) / sum(m.size for m in chosen)


def _remaining(matrices: Iterable[MatrixCount], others: int) -> float:
    chosen = list(matrices)
    return (sum(m.kept for m in chosen) + others) / (sum(m.size for m in chosen) + others)
