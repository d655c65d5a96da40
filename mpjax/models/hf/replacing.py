"""Folders that may be replaced: those of a model and nothing else."""

import re
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.models.families import CONFIG_JSON
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.outputs import new_folder

_SMALL = {CONFIG_JSON, "README.md", ".gitattributes", *TOKENIZER_FILES}
_WEIGHTS = re.compile(
    r"(?:model|pytorch_model|flax_model)[-\w]*\.(?:safetensors|bin|msgpack)(?:\.index\.json)?"
)


def replaced_folder(output: str | Path, *, overwrite: bool, named: str = "--output") -> Path:
    """Absolute path of an output folder that is new, empty, or a model to be replaced.

    Raises:
      InputError: as `mpjax.outputs.new_folder`; or with ``overwrite`` the folder is a run, or holds
        something else than a model, which would be lost.
    """
    target = new_folder(output, marks=(CONFIG_JSON,), overwrite=overwrite, named=named)
    if not target.is_dir() or not any(target.iterdir()):
        return target
    if "model_type" not in read_object(target / CONFIG_JSON):
        raise InputError(
            f"{named} {output} is not replaced: its {CONFIG_JSON} is not that of a model; choose "
            "another folder or remove it first"
        )
    others = sorted(path.name for path in target.iterdir() if not _is_of_model(path))
    if others:
        raise InputError(
            f"{named} {output} is not replaced: it holds {shown(others[0])}, which is no file of a "
            "model and would be lost; choose another folder or remove it first"
        )
    return target


def _is_of_model(path: Path) -> bool:
    return path.is_file() and (path.name in _SMALL or _WEIGHTS.fullmatch(path.name) is not None)
