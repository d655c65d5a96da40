"""Reading the weight files of a Hugging Face folder into host arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from mpjax.models.config import EncoderConfig
from mpjax.models.families import CONFIG_JSON, FAMILIES, known_config
from mpjax.models.hf.forms.flax_msgpack import read_flax
from mpjax.models.hf.forms.pickles import read_pickle
from mpjax.models.hf.forms.safetensors_file import read_safetensors, safetensors_shapes
from mpjax.models.hf.forms.weight_files import FLAX, INDEX, PICKLE, SAFETENSORS, find_weights
from mpjax.models.hf.removed_heads import without_heads
from mpjax.models.hf.soundness import check_sizes, check_tensors
from mpjax.models.hf.spelling import plain_names
from mpjax.models.packed.file import is_packed, read_packed, small_files

T = TypeVar("T")


def read_tensors(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Reads the weights of a folder or packed model: (file that lists them, tensors by name).

    Looks for ``model.safetensors``, ``pytorch_model.bin`` and ``flax_model.msgpack``, whole or in
    shards, in this order. Pickles go through PyTorch's weights-only loader, never through
    ``pickle``.

    Every command reads weights here. They fit the size of the model in ``config.json``, which is
    known before they are read, and they are finite. Their names have no prefix but the body's, and
    heads that ``config.json`` removes are gone.

    Raises `InputError` for missing, damaged or unsound weights, and for a pickle without PyTorch
    installed.
    """
    listed, files, kind = _weight_files(folder)
    config = _config(folder)
    if config is not None and kind.shapes is not None:
        check_sizes(config, _merged(files, kind.shapes), listed)
    tensors = _merged(files, kind.read)
    if config is not None and kind.shapes is None:
        check_sizes(config, {name: tensor.shape for name, tensor in tensors.items()}, listed)
    check_tensors(tensors, listed)
    if config is not None:
        tensors = plain_names(tensors, FAMILIES[config.model_type], listed)
        tensors = without_heads(tensors, config, listed)
    return listed, tensors


def is_standard(folder: Path) -> bool:
    """Whether ``transformers`` reads the weights of a folder from the same place, as they are."""
    listed, files, kind = _weight_files(folder)
    standard = {form + end for form in (SAFETENSORS, PICKLE) for end in ("", INDEX)}
    if listed.parent != folder or listed.name not in standard:
        return False
    stored = _merged(files, kind.read) if kind.shapes is None else _merged(files, kind.shapes)
    return set(stored) == set(read_tensors(folder)[1])


@dataclass(frozen=True)
class _Kind:
    """Reads tensors by name, and where that is cheaper their shapes alone."""

    read: Callable[[Path], dict[str, np.ndarray]]
    shapes: Callable[[Path], dict[str, tuple[int, ...]]] | None = None


def _weight_files(folder: Path) -> tuple[Path, tuple[Path, ...], _Kind]:
    """File that lists the weights, the files that hold them, and their kind."""
    if is_packed(folder):
        return folder, (folder,), _PACKED
    found = find_weights(folder)
    return found.listed, found.files, _KINDS[found.form]


def _config(folder: Path) -> EncoderConfig | None:
    """Config of a folder; None without one, or of other programs."""
    found = small_files(folder, [CONFIG_JSON]).get(CONFIG_JSON)
    return None if found is None else known_config(folder / CONFIG_JSON, found)


def _merged(files: tuple[Path, ...], read: Callable[[Path], dict[str, T]]) -> dict[str, T]:
    return {name: item for path in files for name, item in read(path).items()}


def _packed_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tensor.array.shape for name, tensor in read_packed(path).tensors.items()}


_PACKED = _Kind(lambda path: read_packed(path).restore(), _packed_shapes)
_KINDS = {
    SAFETENSORS: _Kind(read_safetensors, safetensors_shapes),
    PICKLE: _Kind(read_pickle),
    FLAX: _Kind(read_flax),
}
