"""Filled runs (Lagunas et al. 2021, arXiv 2109.04838): surviving heads and FFN units get all their
weights back.

The checkpoint of a run still holds its masked weights. Inside a surviving head or unit they come
back with these values; the other ones are zero, and stay zero during fine-tuning.

* A head survives if one of its features has a non-zero weight in both its value column and its row
  of the attention output. Query and key do not count: a head without them averages.
* An FFN unit survives if its column of FFN-in and its row of FFN-out both have a non-zero weight.

A dead head or unit adds at most a constant, which the biases, still trained, make up for.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models import Model
from mpjax.models.hf.soundness import check_tensors
from mpjax.models.live import live_heads, live_units
from mpjax.pruning import flatten, unflatten
from mpjax.runs.checkpoints import read_latest
from mpjax.runs.folder import RunDir

Masks = dict[str, Any]


def fill(run: Path, model: Model) -> tuple[Model, Masks]:
    """Filled model of a finished run, and masks of the surviving heads and units.

    Args:
      run: run folder.
      model: finished model of the run.

    Returns:
      The model, and for every prunable kernel a boolean mask of two axes, one of length 1.

    Raises:
      InputError: no checkpoint, or no dead head or unit.
    """
    flat = {path: np.asarray(leaf) for path, leaf in flatten(model.params).items()}
    masks = live_masks(flat, model.config.head_size)
    if all(mask.all() for mask in masks.values()):
        raise InputError(
            f"--fill-from {run}: every head and every FFN unit of it survives, so filling it would "
            "give the dense model back; give a run with --structure hybrid or heads"
        )
    checkpoints = RunDir(run).checkpoints
    saved = flatten(read_latest(checkpoints)["params"])
    check_tensors({path: np.asarray(saved[path]) for path in masks}, checkpoints)
    filled = {path: np.asarray(saved[path]) * mask for path, mask in masks.items()}
    kept, size = (sum(int(x) for x in counts) for counts in zip(
        *((np.broadcast_to(m, flat[p].shape).sum(), flat[p].size) for p, m in masks.items()),
        strict=True,
    ))  # fmt: skip
    log.info("filled from %s: %.1f%% of the prunable weights", run, 100 * kept / size)
    return dataclasses.replace(model, params=unflatten(flat | filled)), unflatten(masks)


def live_masks(params: dict[str, np.ndarray], head_size: int) -> dict[str, np.ndarray]:
    """Masks of the surviving heads and units by kernel path, from pruned parameters by path.

    >>> layer = {f"attention/{name}/kernel": np.eye(4) for name in ("query", "key", "value")}
    >>> layer |= {"attention/output/kernel": np.diag([1, 0, 0, 0.0])}
    >>> layer |= {"ffn/in/kernel": np.ones((4, 2)), "ffn/out/kernel": np.array([[1] * 4, [0] * 4])}
    >>> masks = live_masks(layer, head_size=2)
    >>> masks["attention/query/kernel"].tolist(), masks["ffn/out/kernel"].tolist()
    ([[True, True, False, False]], [[True], [False]])
    """
    masks: dict[str, np.ndarray] = {}
    for path in params:
        layer, found, _ = path.rpartition("attention/output/kernel")
        if not found:
            continue
        parts = {p.removeprefix(layer): leaf for p, leaf in params.items() if p.startswith(layer)}
        features = np.repeat(live_heads(parts, head_size), head_size)
        units = live_units(parts)
        for name in ("query", "key", "value"):
            masks[f"{layer}attention/{name}/kernel"] = features[None, :]
        masks[f"{layer}attention/output/kernel"] = features[:, None]
        masks[f"{layer}ffn/in/kernel"] = units[None, :]
        masks[f"{layer}ffn/out/kernel"] = units[:, None]
    return masks
