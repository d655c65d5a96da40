"""Names and shapes of the arrays that a replay reads, compared with those of the case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from experiments.parity.case import Case
from experiments.parity.settings import SIZES
from mpjax.errors import InputError
from mpjax.models import PRUNABLE, torch_names
from mpjax.models.hf.weights import shapes

Shape = tuple[int, ...]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_LABELS = {"classification": ("labels",), "qa": ("start_positions", "end_positions")}
_POOLER = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")  # recorded whatever the head


def check_arrays(case: Case, has_scores: bool) -> None:
    """Raises `InputError` for an array that is missing, unknown or of another shape or type.

    Args:
      case: the recorded run.
      has_scores: whether its rule has scores.
    """
    path = case.path.with_suffix(".npz")
    _check_sizes(path, case)
    params = parameters(case)
    kernels = {
        name.removesuffix(".weight"): params[name]
        for route, name in torch_names(case.config, case.head).items()
        if re.fullmatch(PRUNABLE, route)
    }
    scores = {f"{m}.mask_scores": shape for m, shape in kernels.items() if has_scores}
    needed = {f"{part}/{name}": s for part in ("init", "final") for name, s in params.items()}
    needed |= {f"{p}/{name}": s for p in ("init", "grad0", "final") for name, s in scores.items()}
    if case.settings["distillation"]:
        needed |= {f"teacher/{name}": shape for name, shape in params.items()}
    optional = {f"grad0/{name}": shape for name, shape in params.items()}
    for step in range(len(case.settings["log"])):
        batch = _batch(path, case, step)
        needed |= batch
        optional |= {f"mask/{step}/{m}": shape for m, shape in kernels.items()}
        optional |= _logits(case, step, next(iter(batch.values())))
        noise = {f"uniform/{step}/{m}": shape for m, shape in kernels.items()}
        (needed if noise.keys() & case.arrays.keys() else optional).update(noise)
    for name in _POOLER:
        if (first := case.arrays.get(f"init/{name}")) is not None:
            extra = {f"{part}/{name}": first.shape for part in ("init", "teacher", "grad0")}
            optional = {**extra, f"final/{name}": first.shape, **optional}
    _compare(path, case.arrays, needed, optional)


def parameters(case: Case) -> dict[str, Shape]:
    """Shapes of the model of a case by PyTorch name, kernels (out, in)."""
    sizes = shapes(case.config, case.head)
    return {
        name: sizes[route][::-1] if route.endswith("/kernel") else sizes[route]
        for route, name in torch_names(case.config, case.head).items()
    }


def _check_sizes(path: Path, case: Case) -> None:
    """Bounds the model by the arrays before anything is built of it."""
    types = case.arrays.get("init/bert.embeddings.token_type_embeddings.weight")
    if types is None or types.ndim != 2 or not len(types):
        raise InputError(f"{path} has no token type embeddings; not the arrays of a recorded run")
    longest = max(max(array.shape, default=0) for array in case.arrays.values())
    most = dict.fromkeys(SIZES, longest) | {"num_layers": len(case.arrays), "num_labels": longest}
    for name, bound in most.items():
        if case.settings[name] > bound:
            raise InputError(
                f"{path}: {name} is {case.settings[name]}, and no array is of such a size; the "
                "settings belong to other arrays"
            )


def _batch(path: Path, case: Case, step: int) -> dict[str, Shape]:
    """Arrays of a batch by name; their numbers index tables of the model, so those are checked."""
    first = case.arrays.get(f"batch/{step}/input_ids")
    if first is None or first.ndim != 2 or not 0 < first.shape[1] <= case.config.max_length:
        raise InputError(
            f"{path}: batch/{step}/input_ids is missing or no (rows, tokens) array of at most "
            f"{case.config.max_length} tokens; record the case again"
        )
    rows, length = first.shape
    labels = case.config.num_labels if case.head == "classification" else length
    limits = dict(zip(_INPUTS, (case.config.vocab_size, 2, case.config.token_types), strict=True))
    limits |= dict.fromkeys(_LABELS[case.head], labels)
    for name, limit in limits.items():
        array = case.arrays.get(f"batch/{step}/{name}", np.zeros(1, np.int32))
        whole = array.dtype.kind in "iu"
        if not whole or array.min(initial=0) < 0 or array.max(initial=0) >= limit:
            raise InputError(
                f"{path}: batch/{step}/{name} must hold whole numbers from 0 to {limit - 1}; "
                "record the case again"
            )
    inputs = {f"batch/{step}/{name}": (rows, length) for name in _INPUTS}
    return inputs | {f"batch/{step}/{name}": (rows,) for name in _LABELS[case.head]}


def _logits(case: Case, step: int, batch: Shape) -> dict[str, Shape]:
    if case.head == "classification":
        return {f"logits/{step}/0": (batch[0], case.config.num_labels)}
    return {f"logits/{step}/{i}": batch for i in range(2)}


def _compare(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    needed: Mapping[str, Shape],
    optional: Mapping[str, Shape],
) -> None:
    if missing := needed.keys() - arrays.keys():
        raise InputError(f"{path} has no array {_first(missing)}; not a whole recorded run")
    if unknown := arrays.keys() - needed.keys() - optional.keys():
        raise InputError(
            f"{path}: array {_first(unknown)} has no place in the run that the settings describe"
        )
    for name, array in arrays.items():
        wanted = needed[name] if name in needed else optional[name]
        if array.shape != wanted:
            raise InputError(
                f"{path}: array {name} has shape {array.shape}, the settings ask for {wanted}"
            )


def _first(names: Iterable[str]) -> str:
    return ascii(min(names))[:120]
