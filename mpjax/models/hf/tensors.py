"""Reading the weight files of a Hugging Face folder into host arrays."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes  # noqa: F401  teaches NumPy the name bfloat16
import numpy as np
from safetensors import SafetensorError, safe_open

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.models.config import EncoderConfig
from mpjax.models.families import CONFIG_JSON, known_config
from mpjax.models.hf.soundness import check_sizes, check_tensors
from mpjax.models.packed.file import is_packed, read_packed, small_files

T = TypeVar("T")
SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX = ".index.json"


def read_tensors(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Reads the weights of a folder or packed model: (file that lists them, tensors by name).

    Looks for ``model.safetensors``, its sharded form, ``pytorch_model.bin`` and its sharded form,
    in this order. Pickles go through PyTorch's weights-only loader, never through ``pickle``.

    Every command reads weights here. They fit the size of the model in ``config.json``, which is
    known before they are read, and they are finite.

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
    return listed, tensors


@dataclass(frozen=True)
class _Kind:
    """Reads tensors by name, and where that is cheaper their shapes alone."""

    read: Callable[[Path], dict[str, np.ndarray]]
    shapes: Callable[[Path], dict[str, tuple[int, ...]]] | None = None


def _weight_files(folder: Path) -> tuple[Path, list[Path], _Kind]:
    """File that lists the weights, the files that hold them, and their kind."""
    if is_packed(folder):
        return folder, [folder], _PACKED
    for name, kind in ((SAFETENSORS, _SAFETENSORS), (PICKLE, _PICKLE)):
        path, index = folder / name, folder / (name + INDEX)
        if os.path.isfile(path):
            return path, [path], kind
        if os.path.isfile(index):
            return index, _shards(index), kind
    raise InputError(
        f"{folder} has no weights: expected {SAFETENSORS}, {SAFETENSORS}{INDEX} or {PICKLE}"
    )


def _config(folder: Path) -> EncoderConfig | None:
    """Config of a folder; None without one, or of other programs."""
    found = small_files(folder, [CONFIG_JSON]).get(CONFIG_JSON)
    return None if found is None else known_config(folder / CONFIG_JSON, found)


def _merged(files: list[Path], read: Callable[[Path], dict[str, T]]) -> dict[str, T]:
    return {name: item for path in files for name, item in read(path).items()}


def _shards(index: Path) -> list[Path]:
    """Files that an index names, all in its own folder."""
    weight_map = read_object(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, Mapping) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{index} has no weight_map; write the sharded weights again")
    shards = [index.parent / name for name in sorted(set(names))]
    for shard in shards:
        if shard.parent != index.parent or not os.path.isfile(shard):
            raise InputError(
                f"{index} names the file {shown(shard.name)}, which is not in the folder"
            )
    return shards


def _packed_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    return {name: tensor.array.shape for name, tensor in read_packed(path).tensors.items()}


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    def shape(file: Any, name: str) -> tuple[int, ...]:
        return tuple(file.get_slice(name).get_shape())

    return _from_safetensors(path, shape)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    return _from_safetensors(path, lambda file, name: file.get_tensor(name))


def _from_safetensors(path: Path, get: Callable[[Any, str], T]) -> dict[str, T]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: get(file, name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        # The last four: a dtype that NumPy does not have.
        raise InputError(
            f"{path} is not a readable safetensors file ({shown(error)}); download or write it "
            "again"
        ) from error


def _read_pickle(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path} needs PyTorch to be read safely: install mpjax[torch], or convert the folder "
            f"to {SAFETENSORS}"
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; each means an unusable file
        raise InputError(
            f"{path} cannot be read by PyTorch's weights-only loader "
            f"({str(error).splitlines()[0]}); convert the folder to {SAFETENSORS}"
        ) from error
    if not isinstance(state, Mapping):
        raise InputError(f"{path} must hold a dict of tensors, found {type(state).__name__}")
    tensors = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}
    for name, tensor in tensors.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        # A view that repeats a few bytes can claim any size.
        if not plain or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise InputError(f"{path}: tensor {shown(name)} has no bytes of its own for each entry")
    # NumPy cannot take bfloat16 from PyTorch; float32 holds every bfloat16 exactly.
    return {
        k: (v.float() if v.dtype == torch.bfloat16 else v).detach().numpy()
        for k, v in tensors.items()
    }


_PACKED = _Kind(lambda path: read_packed(path).restore(), _packed_shapes)
_SAFETENSORS = _Kind(_read_safetensors, _safetensors_shapes)
_PICKLE = _Kind(_read_pickle)
