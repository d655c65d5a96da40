"""Folders that may be replaced: those of a model and nothing else."""

import re
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.models.families import CONFIG_JSON
from mpjax.models.hf.tokenizer import TOKENIZER_FILES

_SMALL = {CONFIG_JSON, "README.md", ".gitattributes", *TOKENIZER_FILES}
_WEIGHTS = re.compile(
    r"(?:model|pytorch_model|flax_model)[-\w]*\.(?:safetensors|bin|msgpack)(?:\.index\.json)?"
)


def check_only_model(target: Path, named: str = "--output") -> None:
    """Raises `InputError` where a folder holds something else than a model, which would be lost.

    Args:
      target: folder as `mpjax.outputs.new_folder` gives it, which may be new or empty.
    """
    if not target.is_dir() or not any(target.iterdir()):
        return
    if "model_type" not in read_object(target / CONFIG_JSON):
        raise InputError(
            f"{named} {target} is not replaced: its {CONFIG_JSON} is not that of a model; choose "
            "another folder or remove it first"
        )
    others = sorted(path.name for path in target.iterdir() if not _is_of_model(path))
    if others:
        raise InputError(
            f"{named} {target} is not replaced: it holds {shown(others[0])}, which is no file of a "
            "model and would be lost; choose another folder or remove it first"
        )


def _is_of_model(path: Path) -> bool:
    return path.is_file() and (path.name in _SMALL or _WEIGHTS.fullmatch(path.name) is not None)
