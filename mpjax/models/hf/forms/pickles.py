"""Weights in PyTorch pickles, read without running what they hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import warn_once

_SAFE = "model.safetensors"
# Keys under which training programs keep the state dict of the model, beside their own state.
_INNER = ("state_dict", "model_state_dict", "model", "module")


def read_pickle(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name, through the weights-only loader of PyTorch; bfloat16 becomes float32.

    Raises:
      InputError: PyTorch is not installed, the file needs more than tensors, or a tensor claims
        bytes that it does not have.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path} needs PyTorch to be read safely: install mpjax[torch], or convert the folder "
            f"to {_SAFE}"
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; each means an unusable file
        raise InputError(
            f"{path} cannot be read by PyTorch's weights-only loader "
            f"({str(error).splitlines()[0]}); convert the folder to {_SAFE}"
        ) from error
    if not isinstance(state, Mapping):
        raise InputError(f"{path} must hold a dict of tensors, found {type(state).__name__}")
    state = _model_state(path, state, torch.Tensor)
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


def _model_state(path: Path, state: Mapping[Any, Any], kind: type) -> Mapping[Any, Any]:
    """State dict of the model in the checkpoint of a training program, which is said once."""
    if any(isinstance(value, kind) for value in state.values()):
        return state
    for key in _INNER:
        inner = state.get(key)
        if isinstance(inner, Mapping) and any(isinstance(v, kind) for v in inner.values()):
            warn_once(f"state {path}", f"{shown(path)}: the weights are read from its {key!r}")
            return inner
    return state
