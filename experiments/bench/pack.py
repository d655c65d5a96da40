"""Bytes of a packed model of BERT's size, beside the information bound.

Weights are normal and masks drop entries independently, so that a coder has nothing to exploit but
the density. The tokenizer is a list of random words, one per row of the vocabulary.
"""

import os
import random
import re
import string
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax.export import measure_packed, pack_model
from mpjax.models import PRUNABLE, BertConfig, new_model, save_model
from mpjax.report import render

KINDS: Mapping[str, Mapping[str, Any]] = {
    "bit for bit": {},
    "int8": {"int8": True},
    "int8, embeddings float16": {"int8": True, "embeddings": "float16"},
    "int8, embeddings int8": {"int8": True, "embeddings": "int8"},
}


def run(config: BertConfig, density: float) -> dict[str, Any]:
    """Packs one random model in every way; prints the table and returns the sizes."""
    print(f"random encoder matrices at {density:.0%} density; megabytes of 10^6 bytes")
    result, rows = {}, []
    with tempfile.TemporaryDirectory() as place:
        folder = _random_model(Path(place), config, density)
        for i, (kind, options) in enumerate(KINDS.items()):
            target = Path(place) / f"{i}.mpz"
            sizes = measure_packed(pack_model(folder, target, **options), os.path.getsize(target))
            encoder = sizes.encoder
            ratio = encoder.ratio or 0.0
            numbers = (sizes.total, encoder.size, encoder.bound or 0.0)
            rows.append([kind, *(f"{size / 1e6:.2f}" for size in numbers), f"{ratio:.3f}"])
            result[kind] = sizes.to_json()
    print(render(["packed", "file", "encoder matrices", "their bound", "ratio"], rows))
    print(sizes.table())
    return result


def _dropped(rng: np.random.Generator, matrix: np.ndarray, density: float) -> np.ndarray:
    return np.where(rng.random(matrix.shape, np.float32) < density, matrix, 0)


def _random_model(place: Path, config: BertConfig, density: float) -> Path:
    rng, dice = np.random.default_rng(0), random.Random(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["".join(dice.choices(string.ascii_lowercase, k=7)) for _ in range(config.vocab_size)]
    (place / "words").mkdir()
    (place / "words" / "vocab.txt").write_text("\n".join(special + words[len(special) :]) + "\n")
    flat: dict[str, Any] = flatten_dict(new_model(config, "classification").params, sep="/")
    for path, leaf in flat.items():
        if re.fullmatch(PRUNABLE, path):
            flat[path] = _dropped(rng, np.asarray(leaf), density)
    params = unflatten_dict(flat, sep="/")
    return save_model(place / "model", config, params, "classification", place / "words")
