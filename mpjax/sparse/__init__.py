"""Unstructured zeros made fast on a CPU: encoder matrices in CSR, computed by PyTorch and MKL.

The modules of this room import torch, which the extra `sparse` brings; the room itself does not.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from mpjax.errors import InputError
from mpjax.models import Model

if TYPE_CHECKING:
    from mpjax.sparse.forward import SparseModel

_NEEDED = "torch"


def is_installed() -> bool:
    """Whether the package of the extra `sparse` is there."""
    return importlib.util.find_spec(_NEEDED) is not None


def check_installed() -> None:
    """`InputError` unless the package of the extra `sparse` is there."""
    if not is_installed():
        raise InputError(
            f"--runtime sparse needs {_NEEDED}; install with: pip install 'mpjax[sparse]', or "
            "leave the option out"
        )


def wait_asleep() -> None:
    """Lets threads of torch sleep while they wait, unless the user says otherwise.

    Beside other work on the same cores, spinning until the others' time slice ends made a pass 13
    times as slow. OpenMP reads the variable when torch is first imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def sparse_model(model: Model, *, csr: bool = True) -> SparseModel:
    """The model in PyTorch on the CPU, each encoder matrix in CSR where that is timed as faster.

    Args:
      csr: False keeps all matrices dense, to tell what CSR gains from what PyTorch does.

    Raises:
      InputError: torch is missing, or the family of the model is not known there.
    """
    check_installed()
    wait_asleep()
    from mpjax.sparse.forward import convert
    from mpjax.sparse.matrices import faster, keep_dense

    return convert(model, faster if csr else keep_dense)
