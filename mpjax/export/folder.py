"""A run's model as a plain Hugging Face folder somewhere else."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from mpjax.errors import InputError
from mpjax.training.job import model_folder


def export_model(run: str | Path, output: str | Path) -> Path:
    """Copies the finished model of a run (or a model folder) to `output`.

    Pruned weights are zeros in it, so any program that reads such folders reads it. It appears at
    once and whole; doing the same again changes nothing.

    Raises:
      InputError: an unfinished run, or an `output` that holds anything but the same export.
    """
    if not os.path.isdir(run):
        raise InputError(f"{run} is not a folder; give the folder of a run")
    source, target = model_folder(run), Path(output).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"--output {target} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()):
        if not _same(source, target):
            raise InputError(
                f"--output {target} is not empty and not this export; choose another folder"
            )
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        whole = temporary / "model"
        shutil.copytree(source, whole)
        os.replace(whole, target)  # an empty folder gives way to a rename
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
