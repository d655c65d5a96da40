"""`config.json` of a run, and the differences between it and a later command."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from mpjax.config.checks import option
from mpjax.config.label_words import AUTO
from mpjax.config.train import TrainConfig
from mpjax.files import read_object, shown

CONFIG = "config.json"
DERIVED = "derived"  # key for the sizes that followed from the data
DATA_DIGEST = "data_digest"  # among these: hashes of the encoded training and dev rows
TEACHER_DIGEST = "teacher_digest"  # among these: hash of the weights of the teacher
DEV_DIGEST = "dev_digest"  # among these: number and hash of the dev rows of own data
# Options about storage, devices and mishaps, which change no number of a run that goes well.
OPERATIONAL = (
    "output", "checkpoint_every", "cache", "devices", "mesh", "remat", "scan_layers", "tensorboard",
    "report_to",    "keep", "strict", "on_nan", "max_skipped", "continue_with",
)  # fmt: skip


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run folder. A model folder has a `config.json` too, of its own form."""
    path = Path(folder) / CONFIG
    return os.path.isfile(path) and DERIVED in read_object(path)


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """Config as JSON values."""
    return dataclasses.asdict(config)


def differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """Options that would change a recorded run's numbers: '--seed was 0, now 1', ...

    >>> differences({"seed": 1, "output": "a"}, {"seed": 0, "output": "b"})
    ['--seed was 0, now 1']
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    if now.get("label_words") == AUTO:  # runs of before had a trained head, which auto takes
        defaults["label_words"] = AUTO
    then = {**defaults, **then}  # runs recorded before an option existed had its default
    names = [name for name in then if name not in OPERATIONAL and name in now]
    found = [
        f"{option(name)} was {shown(then.get(name))}, now {shown(now.get(name))}"
        for name in names
        if then.get(name) != now.get(name)
    ]
    if then["final_lambda"] == 0 and now.get("final_lambda", 0) is None:
        found.append("--density is now reached by steering λ; give --final-lambda 0 to continue")
    if then["mask_init"] == "constant" and now.get("mask_init") == "magnitude":
        found.append("scores of movement now begin by size; give --mask-init constant to continue")
    return found


def changed_meaning(then: dict[str, Any]) -> list[str]:
    """Options of an earlier version's run that mean something else now, so that it cannot go on.

    >>> changed_meaning({"scope": "global", "structure": "heads"})
    ['the density of --scope global with --structure heads counted scores, and counts weights now']
    """
    if "lr_cycle" in then:
        return []  # of this version or a later one
    found: list[str] = []
    structure = then.get("structure", "element")
    if then.get("scope") == "global" and structure != "element":
        found.append(
            f"the density of --scope global with --structure {structure} counted scores, and "
            "counts weights now"
        )
    if (then.get("prune_every") or 1) > 1:
        found.append("masks of --prune-every are kept in checkpoints now, and were not")
    return found
