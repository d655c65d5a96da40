"""A run's model in one compact file, and back to a plain Hugging Face folder."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mpjax.errors import InputError
from mpjax.models.hf.folder import CONFIG
from mpjax.models.hf.saving import write_folder
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.models.packed.coding import compress, encode
from mpjax.models.packed.file import (
    SUFFIX,
    Packed,
    Stored,
    is_packed,
    read_packed,
    small_files,
    write_packed,
)
from mpjax.models.packed.quantize import to_int8
from mpjax.runs.opening import model_folder

FILES = (CONFIG, *TOKENIZER_FILES)
EMBEDDINGS = ("float32", "float16", "int8")  # float32: as they are
_EMBEDDING = re.compile(r"(^|\.)embeddings\.")


def pack_model(
    model: str | Path, output: str | Path, *, int8: bool = False, embeddings: str = "float32"
) -> Packed:
    """Writes the model of a run or a folder as one file that mpjax reads like the folder.

    Args:
      int8: quantise the weights of the linear layers, one scale per output channel.
      embeddings: ``float32`` keeps the tables as they are, ``float16`` and ``int8`` (one scale per
        row) round them. Biases and norms are always kept bit for bit.

    Raises:
      InputError: an unfinished run, an `output` that exists or does not end in .mpz, a tensor whose
        values the smaller type cannot hold.
    """
    target = Path(output).expanduser()
    if target.suffix != SUFFIX:
        raise InputError(f"--output {output} must end in {SUFFIX}; that is how it is recognised")
    if target.exists():
        raise InputError(f"--output {output} exists; choose another name or remove it first")
    if embeddings not in EMBEDDINGS:
        raise InputError(f"--embeddings is {embeddings!r}; choose from {', '.join(EMBEDDINGS)}")
    folder = model_folder(model)
    path, tensors = read_tensors(folder)

    def stored(name: str) -> Stored:
        kind = embeddings if _EMBEDDING.search(name) else "int8" if int8 else "float32"
        try:
            return _stored(tensors[name], kind)
        except ValueError as error:
            raise InputError(f"{path}: tensor {name} {error}; keep it as float32") from error

    first = _first_of_equals(tensors)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the coders work outside Python's lock
        unique = dict.fromkeys(first.values())
        made = dict(zip(unique, pool.map(stored, unique), strict=True))
    files = {name: compress(data, "lzma") for name, data in small_files(folder, FILES).items()}
    packed = Packed(files, {name: made[first[name]] for name in tensors})
    write_packed(target, packed)
    return packed


def unpack_model(file: str | Path, output: str | Path) -> Path:
    """Writes a packed model as the plain Hugging Face folder it came from, zeros and all.

    Raises:
      InputError: a damaged file, or an `output` that is not an empty or new folder.
    """
    if not is_packed(file):
        raise InputError(f"{file} is not a packed model; give a file that ends in {SUFFIX}")
    packed = read_packed(Path(file))
    strange = set(packed.files) - set(FILES)
    if strange:
        raise InputError(f"{file} holds the file {min(strange)!r}, which no model folder has")
    files = {name: packed.read_file(name) for name in packed.files}
    return write_folder(output, files, packed.restore())


def _first_of_equals(tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """For every tensor the first that equals it, a table before its copy in a head."""
    names: dict[object, str] = {}
    first = {}
    for name in sorted(tensors, key=lambda name: not _EMBEDDING.search(name)):
        tensor = np.ascontiguousarray(tensors[name])
        content = hashlib.sha256(tensor.tobytes()).digest()
        first[name] = names.setdefault((tensor.shape, tensor.dtype, content), name)
    return first


def _stored(tensor: np.ndarray, kind: str) -> Stored:
    """A tensor as it is, or, where it is a matrix, as what `kind` makes of it."""
    dtype = tensor.dtype.name
    if tensor.ndim != 2 or kind == "float32":
        return Stored(dtype, encode(tensor))
    if kind == "int8":
        q, scales = to_int8(tensor)
        return Stored(dtype, encode(q), encode(scales))
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    if np.isinf(half).any():
        raise ValueError("holds values beyond the range of float16")
    return Stored(dtype, encode(half))
