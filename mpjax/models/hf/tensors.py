"""Reading the weight files of a Hugging Face folder into host arrays."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  teaches NumPy the name bfloat16
import numpy as np
from safetensors import SafetensorError, safe_open

from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.models.packed.file import is_packed, read_packed

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
INDEX = ".index.json"


def read_tensors(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Reads the weights of a folder or packed model: (file that lists them, tensors by name).

    Looks for ``model.safetensors``, its sharded form, ``pytorch_model.bin`` and its sharded form,
    in this order. Pickles go through PyTorch's weights-only loader, never through ``pickle``.

    Raises `InputError` for missing or damaged weights, and for a pickle without PyTorch installed.
    """
    if is_packed(folder):
        return folder, read_packed(folder).restore()
    for name, read in ((SAFETENSORS, _read_safetensors), (PICKLE, _read_pickle)):
        path = folder / name
        if path.is_file():
            return path, read(path)
        index = folder / (name + INDEX)
        if index.is_file():
            tensors: dict[str, np.ndarray] = {}
            for shard in _shards(index):
                tensors |= read(shard)
            return index, tensors
    raise InputError(
        f"{folder} has no weights: expected {SAFETENSORS}, {SAFETENSORS}{INDEX} or {PICKLE}"
    )


def _shards(index: Path) -> list[Path]:
    """Files that an index names, all in its own folder."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise InputError(f"{index} has no weight_map; write the sharded weights again")
    shards = [index.parent / str(name) for name in sorted(set(weight_map.values()))]
    for shard in shards:
        if shard.parent != index.parent or not shard.is_file():
            raise InputError(f"{index} names the file {shard.name}, which is not in the folder")
    return shards


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}); download or write it again"
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
    # NumPy cannot take bfloat16 from PyTorch; float32 holds every bfloat16 exactly.
    return {
        k: (v.float() if v.dtype == torch.bfloat16 else v).detach().numpy()
        for k, v in tensors.items()
    }
