"""Unstructured zeros made fast on a CPU: encoder matrices in CSR, computed by PyTorch and MKL.

`mpjax.sparse.forward` and `mpjax.sparse.matrices` import torch, which the extra `sparse` brings;
this module does not.
"""

import importlib.util

from mpjax.errors import InputError

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
