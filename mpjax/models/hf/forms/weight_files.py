"""Where a Hugging Face folder has its weights, and in which form."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.log import warn_once
from mpjax.models.hf.forms.foreign import advice

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
FLAX = "flax_model.msgpack"
FORMS = (SAFETENSORS, PICKLE, FLAX)  # in the order in which they are looked for
INDEX = ".index.json"
_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<rest>(\.\w+)?)")


@dataclass(frozen=True)
class WeightFiles:
    """File that lists the tensors, the files that hold them, and their form, one of `FORMS`."""

    listed: Path
    files: tuple[Path, ...]
    form: str


def find_weights(folder: Path) -> WeightFiles:
    """Weights of a folder.

    Each form is one file; an index and the shards that it names; or all shards without an index.
    Where the folder has none, the weights of its only sub-folder with some are taken, or its only
    safetensors file of another name, and this is said once.

    Raises:
      InputError: no weights, shards that are missing, or a form of other programs, with the way to
        convert it.
    """
    found = _found(folder)
    if found is None and (found := _elsewhere(folder)) is not None:
        place = shown(found.listed.relative_to(folder))
        warn_once(f"weights {folder}", f"{shown(folder)}: the weights are read from {place}")
    if found is not None:
        return found
    hint = advice(_names(folder))
    raise InputError(
        f"{folder} has no weights: expected {SAFETENSORS}, {SAFETENSORS}{INDEX}, {PICKLE} or {FLAX}"
        + (f"; {hint}" if hint else "")
    )


def shards(index: Path) -> tuple[Path, ...]:
    """Files that an index names, all of them in its own folder; `InputError` otherwise."""
    found = tuple(index.parent / name for name in shard_names(index))
    for shard in found:
        if not os.path.isfile(shard):
            raise InputError(
                f"{index} names the file {shown(shard.name)}, which is not in the folder"
            )
    return found


def shard_names(index: Path) -> list[str]:
    """Names of the files in an index; `InputError` for one without any, or outside its folder."""
    weight_map = read_object(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, Mapping) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{index} has no weight_map; write the sharded weights again")
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names the file {shown(name)}, which is not in the folder")
    return sorted(set(names))


def _found(folder: Path) -> WeightFiles | None:
    for form in FORMS:
        path, index = folder / form, folder / (form + INDEX)
        if os.path.isfile(path):
            return WeightFiles(path, (path,), form)
        if os.path.isfile(index):
            return WeightFiles(index, shards(index), form)
        if loose := _loose_shards(folder, form):
            return WeightFiles(loose[0], loose, form)
    return None


def _loose_shards(folder: Path, form: str) -> tuple[Path, ...]:
    """Shards of a form without an index, all that their names promise; () if there are none."""
    stem, suffix = form.rsplit(".", 1)
    matches = [match for name in _names(folder) if (match := _SHARD.fullmatch(name))]
    ours = [
        match
        for match in matches
        if (match["name"], match["rest"]) in ((stem, f".{suffix}"), (form, ""))
    ]
    if not ours:
        return ()
    first = ours[0]
    found = {
        int(match["number"]): match.string for match in ours if match["count"] == first["count"]
    }
    missing = [n for n in range(1, int(first["count"]) + 1) if n not in found]
    if missing or len(found) < len(ours):
        numbers = ", ".join(map(str, missing)) or "two sets of shards"
        raise InputError(
            f"{folder} has {len(ours)} shards of {form} in {first['count']} parts without an "
            f"index, and lacks {shown(numbers)}; copy all of them, and {form}{INDEX}"
        )
    return tuple(folder / found[number] for number in sorted(found))


def _elsewhere(folder: Path) -> WeightFiles | None:
    """Weights of the only sub-folder that has some, or of the only other safetensors file."""
    names = _names(folder)
    below = [folder / name for name in names if os.path.isdir(folder / name)]
    inside = [found for place in below if (found := _found(place)) is not None]
    if len(inside) == 1:
        return inside[0]
    others = [name for name in names if name.endswith(".safetensors") and "adapter" not in name]
    if len(others) == 1 and not inside:
        path = folder / others[0]
        return WeightFiles(path, (path,), SAFETENSORS)
    return None


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
