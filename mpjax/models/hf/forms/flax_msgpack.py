"""``flax_model.msgpack``: weights as the Flax classes of ``transformers`` saved them.

Their trees have the modules of the PyTorch classes; kernels are (in, out), and leaves have the
names of Flax.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict

from mpjax.errors import InputError
from mpjax.files import read_bytes, shown

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


def read_flax(path: Path) -> dict[str, np.ndarray]:
    """Tensors by their PyTorch names and in their layout.

    No tensor is larger than its bytes in the file.

    Raises:
      InputError: a file that is cut short, or holds anything but a tree of tensors.
    """
    content = read_bytes(path)
    try:
        tree = msgpack_restore(content)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:  # msgpack and NumPy raise many kinds; each means a damaged file
        raise InputError(
            f"{path} is not a readable Flax file ({type(error).__name__}: {shown(error)}); "
            "download or write it again"
        ) from error
    if not isinstance(tree, Mapping):
        raise InputError(f"{path} must hold a tree of tensors, found {type(tree).__name__}")
    if isinstance(tree.get("params"), Mapping):  # a training state, or variables of a module
        tree = tree["params"]
    tensors = {}
    for keys, leaf in flatten_dict(dict(tree)).items():
        name = ".".join(map(str, keys))
        if not isinstance(leaf, np.ndarray):
            raise InputError(
                f"{path}: {shown(name)} must be a tensor, found {type(leaf).__name__}; "
                "write the params of the model, and nothing else, again"
            )
        tensors[_torch_name(name)] = leaf.T if name.endswith(".kernel") else leaf
    return tensors


def _torch_name(name: str) -> str:
    """The name in a PyTorch folder.

    >>> _torch_name("bert.embeddings.LayerNorm.scale")
    'bert.embeddings.LayerNorm.weight'
    """
    module, dot, leaf = name.rpartition(".")
    return module + dot + _LEAVES.get(leaf, leaf)
