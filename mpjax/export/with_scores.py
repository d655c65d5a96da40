"""Export of a run as a training checkpoint of the published PyTorch code, mask scores included."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mpjax.config.checks import DENSE
from mpjax.config.recorded import DERIVED, is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.export.carded import save_with_card, write_card
from mpjax.export.source import known_files, output_folder, tokenizer_of
from mpjax.files import read_object
from mpjax.models import load_model, save_model, stored_head
from mpjax.models.hf.soundness import check_tensors
from mpjax.models.hf.tensors import read_tensors
from mpjax.pruning import flatten
from mpjax.pruning.published import METHOD_OF
from mpjax.runs.checkpoints import read_latest
from mpjax.runs.folder import RunDir
from mpjax.runs.opening import model_folder

_UNMASKED = (
    "Where the weights stand beside mask scores, as the published PyTorch code saves them, they "
    "are not masked. Densities and scores here are those of the masked model, which `mpjax export` "
    "makes of such a folder.",
)


def export_with_scores(run: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Writes the unmasked weights and the scores of a finished run, bit for bit.

    ``config.json`` gets ``pruning_method``, ``mask_init`` and ``mask_scale`` as in the published
    code, and the final ``threshold``, which that code takes as an argument instead.

    Args:
      overwrite: replace another model in ``output``.

    Raises:
      InputError: an unfinished run, a method or structure that the published code does not have,
        an ``output`` in use, or a checkpoint that is not finite.
    """
    if not is_run(run):
        raise InputError(f"{run} is not a run of mpjax; --with-scores needs one, with checkpoints")
    target, folder = output_folder(output, run, overwrite), model_folder(run)
    known_files(folder)
    recorded = RunDir(Path(run))
    options = read_object(recorded.config)
    method, threshold = _method(options)
    keys = {
        "pruning_method": method,
        # The published code knows three, and overwrites the scores with the stored ones.
        "mask_init": "constant" if options["mask_init"] == "magnitude" else options["mask_init"],
        "mask_scale": options["mask_scale"] or 0.0,
        "threshold": threshold,
        **_blocks(options),
    }
    finished = load_model(folder, stored_head(folder))
    config = replace(finished.config, extra={**finished.config.extra, **keys})
    state = read_latest(recorded.checkpoints)
    params, scores = state["params"], state["scores"]
    for tree in (params, scores):
        check_tensors(jax.tree.map(np.asarray, flatten(tree)), recorded.checkpoints)
    tokenizer = tokenizer_of(finished)
    head, masked = finished.head, read_tensors(folder)[1]
    return save_with_card(
        lambda export: save_model(export, config, params, head, tokenizer, scores=scores),
        target,
        lambda export, target: write_card(run, folder, export, target, masked, _UNMASKED),
        overwrite,
    )


def _method(options: dict[str, Any]) -> tuple[str, float]:
    """``pruning_method`` and final threshold of a run's options."""
    name, scope = options["method"], options["scope"]
    if name not in METHOD_OF:
        why = "it has no scores" if name == DENSE else "the published code does not know it"
        raise InputError(f"--with-scores does not apply to a run of --method {name}: {why}")
    if scope != TrainConfig.scope:
        raise InputError(
            f"--with-scores does not apply to --scope {scope}: the published code makes that cut "
            "in its trainer and keeps it nowhere"
        )
    if name in ("l0", "soft_movement") and options["density"] is not None:
        raise InputError(
            f"--with-scores does not apply to {name} with --density: the published {name} has no "
            "such cut"
        )
    if options[DERIVED].get("prune_every", 1) > 1:
        raise InputError(
            f"--with-scores does not apply to --prune-every {options['prune_every']}: the masks "
            "are those of the last cut, and the scores have moved on since"
        )
    return METHOD_OF[name], options["final_threshold"]


def _blocks(options: dict[str, Any]) -> dict[str, int]:
    """``mask_block_rows`` and ``mask_block_cols``, (out, in), of a run with blocks."""
    structure = options.get("structure", TrainConfig.structure)
    if structure == TrainConfig.structure:
        return {}
    block = re.fullmatch(r"block:(\d+)x(\d+)", structure)
    if block is None or options["method"] == "magnitude":
        raise InputError(
            f"--with-scores does not apply to --structure {structure} of --method "
            f"{options['method']}: the published code has scores of single weights, or of equal "
            "blocks of every matrix (block:RxC)"
        )
    return {"mask_block_rows": int(block[2]), "mask_block_cols": int(block[1])}
