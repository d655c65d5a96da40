"""Packing a model into one compact file, and unpacking it to a plain Hugging Face folder."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mpjax.cards import CARD, gather, make_card
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.export.packed_sizes import is_embedding
from mpjax.export.source import card_of, known_files, output_folder
from mpjax.files import shown
from mpjax.models.families import CONFIG_JSON, known_config
from mpjax.models.hf.saving import write_folder
from mpjax.models.hf.scores import SCORES_SUFFIX, split_scores
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.models.hf.weights import check_body
from mpjax.models.packed.coding import compress, encode_array
from mpjax.models.packed.file import (
    PACKED_SUFFIX,
    PackedModel,
    PackedTensor,
    is_packed,
    read_packed,
    small_files,
    write_packed,
)
from mpjax.models.packed.quantize import to_int8
from mpjax.outputs import new_file
from mpjax.runs.opening import model_folder

FILES = (CONFIG_JSON, *TOKENIZER_FILES, CARD)
EMBEDDING_DTYPES = ("float32", "float16", "int8")  # float32: unchanged


def pack_model(
    model: str | Path,
    output: str | Path,
    *,
    int8: bool = False,
    embeddings: str = "float32",
    overwrite: bool = False,
) -> PackedModel:
    """Writes the model of a run or folder as one file, which mpjax reads like the folder.

    The card of a run, or the one in the folder, goes into the file.

    Args:
      int8: quantise the weights of the linear layers, one scale per output channel; the mask
        scores of a training checkpoint stay as they are.
      embeddings: ``float32`` keeps the tables unchanged, ``float16`` and ``int8`` (one scale per
        row) round them. Biases and norms are always kept bit for bit.
      overwrite: replace an ``output`` that exists.

    Raises:
      InputError: an unfinished run, an ``output`` that exists or does not end in .mpz, or a tensor
        with values beyond the smaller type.
    """
    if Path(output).suffix != PACKED_SUFFIX:
        raise InputError(
            f"--output {output} must end in {PACKED_SUFFIX}; that is how it is recognised"
        )
    target = new_file(output, overwrite=overwrite)
    if embeddings not in EMBEDDING_DTYPES:
        known = ", ".join(EMBEDDING_DTYPES)
        raise InputError(f"--embeddings is {embeddings!r}; choose from {known}")
    folder = model_folder(model)
    if folder.is_dir():
        known_files(folder)
        card_of(folder)
    path, tensors = read_tensors(folder)
    names = [*tensors]
    first = _first_of_equals(tensors)
    # The largest last: by then the memory of the others is free again.
    unique = sorted(set(first.values()), key=lambda name: (tensors[name].nbytes, name))
    waiting = {name: tensors[name] for name in unique}
    tensors.clear()

    def encode_named(name: str) -> PackedTensor:
        linear = "int8" if int8 and not name.endswith(SCORES_SUFFIX) else "float32"
        dtype = embeddings if is_embedding(name) else linear
        try:
            return _encode_array(waiting.pop(name), dtype)
        except ValueError as error:
            raise InputError(f"{path}: tensor {name} {error}; keep it as float32") from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the coders release the GIL
        encoded = dict(zip(unique, pool.map(encode_named, unique), strict=True))
    files = small_files(folder, FILES)
    named = {name: encoded[first[name]] for name in names}
    if is_run(model) and CARD not in files:
        stored = PackedModel({}, named).restore()  # rounding leaves fewer weights that are not zero
        files[CARD] = make_card(gather(model, folder, stored, _rounding(int8, embeddings)))
    coded = {name: compress(data, "lzma") for name, data in files.items()}
    packed = PackedModel(coded, named)
    write_packed(target, packed, overwrite=overwrite)
    return packed


def unpack_model(file: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a packed model as a plain Hugging Face folder, zeros included.

    Args:
      overwrite: replace another model in ``output``.

    Raises:
      InputError: a damaged file, or an ``output`` that is not a new or empty folder.
    """
    if not is_packed(file):
        raise InputError(
            f"{shown(file)} is not a packed model; give a file that ends in {PACKED_SUFFIX}"
        )
    target = output_folder(output, file, overwrite)
    packed = read_packed(Path(file))
    unknown = set(packed.files) - set(FILES)  # also keeps paths within the folder
    if unknown:
        raise InputError(f"{file} holds the file {min(unknown)!r}, which no model folder has")
    files = {name: packed.read_file(name) for name in packed.files}
    path, tensors = read_tensors(Path(file))
    if CONFIG_JSON in files:
        config = known_config(path / CONFIG_JSON, files[CONFIG_JSON])
        if config is not None:
            check_body(split_scores(tensors)[0], config, str(path))
    return write_folder(target, files, tensors, exist_ok=overwrite)


def _rounding(int8: bool, embeddings: str) -> tuple[str, ...]:
    """Sentences for the card about values that were rounded."""
    rounded = [*(["linear layers to int8"] if int8 else []),
               *([f"embeddings to {embeddings}"] if embeddings != "float32" else [])]  # fmt: skip
    if not rounded:
        return ()
    return (f"Packing rounded {' and '.join(rounded)}; the score is that before rounding.",)


def _first_of_equals(tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """Name of the first equal tensor for every tensor, embedding tables before their copies."""
    names: dict[object, str] = {}
    first = {}
    for name in sorted(tensors, key=lambda name: not is_embedding(name)):
        tensor = np.ascontiguousarray(tensors[name])
        content = hashlib.sha256(tensor.reshape(-1).view(np.uint8).data).digest()
        first[name] = names.setdefault((tensor.shape, tensor.dtype, content), name)
    return first


def _encode_array(tensor: np.ndarray, dtype: str) -> PackedTensor:
    """Encodes a tensor, a matrix after rounding to ``dtype``; float32 means unchanged.

    Raises ValueError for values beyond the type.
    """
    restored = tensor.dtype.name
    if tensor.ndim != 2 or dtype == "float32" or tensor.dtype.kind in "iub":  # of position_ids
        return PackedTensor(restored, encode_array(tensor))
    if dtype == "int8":
        q, scales = to_int8(tensor)
        return PackedTensor(restored, encode_array(q), encode_array(scales))
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    if np.isinf(half).any():
        raise ValueError("holds values beyond the range of float16")
    return PackedTensor(restored, encode_array(half))
