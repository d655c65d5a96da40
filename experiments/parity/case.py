"""A recorded run: settings and log from ``NAME.json``, arrays from ``NAME.npz``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import read_arrays
from experiments.parity.settings import HEADS, check_settings
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.models import BertConfig, from_torch_names, torch_names
from mpjax.pruning import unflatten


@dataclasses.dataclass(frozen=True)
class Case:
    """One recorded run: settings and log from the JSON, arrays from the npz."""

    path: Path  # of the JSON
    settings: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def config(self) -> BertConfig:
        """Sizes of the recorded model, without dropout."""
        s = self.settings
        return BertConfig(
            vocab_size=s["vocab_size"],
            hidden_size=s["hidden_size"],
            num_hidden_layers=s["num_layers"],
            num_attention_heads=s["num_heads"],
            intermediate_size=s["intermediate_size"],
            max_position_embeddings=s["max_position_embeddings"],
            type_vocab_size=len(self.arrays["init/bert.embeddings.token_type_embeddings.weight"]),
            layer_norm_eps=s["layer_norm_eps"],
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=tuple(f"LABEL_{i}" for i in range(s["num_labels"])),
        )

    @property
    def head(self) -> str:
        """Head of the recorded model by our name."""
        return HEADS[self.settings["head"]]

    def tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays under ``prefix/``, by the rest of their name."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}

    def per_kernel(self, prefix: str, suffix: str) -> dict[str, Any]:
        """Arrays named ``prefix/MODULE + suffix`` as a tree at the kernels' paths, transposed."""
        modules = {
            name.removesuffix(".weight"): path
            for path, name in torch_names(self.config, self.head).items()
        }
        return unflatten(
            {
                modules[name.removesuffix(suffix)]: jnp.asarray(array.T)
                for name, array in self.tensors(prefix).items()
                if name.endswith(suffix)
            }
        )

    def params(self, prefix: str) -> dict[str, Any]:
        """Parameters recorded under ``prefix/``, in float64."""
        wanted = set(torch_names(self.config, self.head).values())
        tensors = {k: v for k, v in self.tensors(prefix).items() if k in wanted}
        return from_torch_names(tensors, self.config, self.head, param_dtype=jnp.float64)

    def batch(self, step: int) -> dict[str, jax.Array]:
        """Inputs and labels of a step, counted from 0."""
        return {k: jnp.asarray(v) for k, v in self.tensors(f"batch/{step}").items()}


def load_case(path: Path) -> Case:
    """Reads ``NAME.json`` and the ``NAME.npz`` beside it.

    Raises:
      InputError: a file is missing or is not of this format.
    """
    arrays = path.with_suffix(".npz")
    for file in (path, arrays):
        if not file.is_file():
            raise InputError(f"{file}: no such file; a case is NAME.json with NAME.npz beside it")
    settings = read_object(path)
    check_settings(path, settings)
    return Case(path, settings, read_arrays(arrays))


def case_files(path: Path) -> list[Path]:
    """The cases of a folder, or the one file."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path.with_suffix(".json")]
    if not files:
        raise InputError(f"{path}: no NAME.json in this folder; name a case or a folder of cases")
    return files
