"""Tensor names as PyTorch programs leave them, brought to those of a Hugging Face folder.

Wrappers and classes around a model put their attribute's name before every tensor:
``module.bert.encoder...``, ``_orig_mod.bert...``, ``model.encoder...``, ``bert.bert.encoder...``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import warn_once
from mpjax.models.families import FAMILIES
from mpjax.models.family import Family

T = TypeVar("T")
# Modules that torch.compile, DataParallel and FSDP put around a module, at any depth.
_WRAPPERS = frozenset((
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"
))  # fmt: skip
_TABLE = "embeddings.word_embeddings.weight"  # every model has one


def plain_names(tensors: Mapping[str, T], family: Family, source: Path) -> dict[str, T]:
    """Tensors without the names of wrappers, and without a prefix in front of the model's own.

    The body's table of words tells where the model begins. Tensors outside of it, such as a head
    beside a wrapped body, keep their names. What is stripped is said once.

    Raises:
      InputError: two tensors of one name once the prefixes are gone, or more than one model.
    """
    unwrapped = _renamed(tensors, {name: _unwrapped(name) for name in tensors}, source)
    start = _start(unwrapped, family, source)
    bare = {name: name.removeprefix(start) for name in unwrapped}
    found = _renamed(unwrapped, bare, source) if start else unwrapped
    stripped = sorted({w for name in tensors for w in name.split(".") if w in _WRAPPERS})
    if removed := [f"{name}." for name in stripped] + ([start] if start else []):
        warn_once(
            f"prefix {source}",
            f"{shown(source)}: {shown(', '.join(removed))} stripped from the tensor names",
        )
    return found


def _unwrapped(name: str) -> str:
    """The name without wrappers.

    >>> _unwrapped("_orig_mod.module.bert.encoder")
    'bert.encoder'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _start(names: Iterable[str], family: Family, source: Path) -> str:
    """Prefix in front of the model's own names; "" without one, or if it names another family."""
    before = {name.removesuffix(_TABLE) for name in names if f".{name}".endswith(f".{_TABLE}")}
    own = f"{family.prefix}."
    if len(before) > 1:
        named = ", ".join(name or "one without a prefix" for name in sorted(before))
        raise InputError(
            f"{source} holds {len(before)} models, {shown(named)}; "
            "write the tensors of one of them to a folder of its own"
        )
    if not before or before & {"", own}:
        return ""
    start = before.pop()
    others = {other.prefix for other in FAMILIES.values()} - {family.prefix}
    return "" if others & set(start.split(".")) else start.removesuffix(own)


def _renamed(tensors: Mapping[str, T], names: Mapping[str, str], source: Path) -> dict[str, T]:
    """Tensors under other names; `InputError` where two get the same one."""
    found = {names[name]: tensor for name, tensor in tensors.items()}
    if len(found) < len(tensors):
        taken: dict[str, str] = {}
        for name in tensors:
            other = taken.setdefault(names[name], name)
            if other != name:
                raise InputError(
                    f"{source} holds both {shown(other)} and {shown(name)}, one tensor of the "
                    "model; keep the tensors of one model"
                )
    return found
