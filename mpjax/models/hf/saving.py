"""Writing a model as a Hugging Face folder, whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mpjax.errors import InputError
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES, check_head
from mpjax.models.hf.folder import CONFIG_JSON
from mpjax.models.hf.scores import MASKED_TYPE, score_tensors
from mpjax.models.hf.tensors import SAFETENSORS
from mpjax.models.hf.tokenizer import tokenizer_files
from mpjax.models.hf.weights import Params, to_torch_names


def save_model(
    folder: str | Path,
    config: EncoderConfig,
    params: Params,
    head: str,
    tokenizer_from: str | Path | None = None,
    *,
    exist_ok: bool = False,
    scores: Params | None = None,
) -> Path:
    """Writes a plain Hugging Face folder that ``transformers`` loads with equal logits.

    Writes to a temporary folder next to ``folder`` and renames it, so that a failure leaves
    nothing half-written and an existing folder as it was.

    Args:
      tokenizer_from: model folder whose tokenizer files are copied; None for no tokenizer.
      exist_ok: replace an existing model folder as a whole.
      scores: makes the folder a training checkpoint of the published PyTorch code, with these
        scores beside the unmasked ``params``; ``config.extra`` holds its keys, such as
        ``pruning_method``.

    Raises:
      InputError: ``folder`` is a file or is not empty, params and config do not fit, or
        ``tokenizer_from`` has no tokenizer.
    """
    check_head(head)
    _check_target(Path(folder).expanduser().resolve(), exist_ok)
    weights = to_torch_names(params, config, head)
    files = {} if tokenizer_from is None else tokenizer_files(tokenizer_from)
    data = _config_json(config, head, weights)
    if scores is not None:
        weights |= score_tensors(scores, config, head)
        data |= _checkpoint_keys(config, head)
    text = json.dumps(data, indent=2, sort_keys=True) + "\n"
    files = {**files, CONFIG_JSON: text.encode("utf-8")}
    return write_folder(folder, files, weights, exist_ok=exist_ok)


def write_folder(
    folder: str | Path,
    files: Mapping[str, bytes],
    tensors: Mapping[str, np.ndarray],
    *,
    exist_ok: bool = False,
) -> Path:
    """Writes a folder of small files and weights, whole or not at all.

    Raises `InputError` for a target that `save_model` refuses.
    """
    target = Path(folder).expanduser().resolve()
    _check_target(target, exist_ok)
    temporary = _sibling(target)
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        save_file(dict(tensors), temporary / SAFETENSORS, metadata={"format": "pt"})
        _open_permissions(temporary)
        _swap(temporary, target, exist_ok)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)
    return target


def _checkpoint_keys(config: EncoderConfig, head: str) -> dict[str, Any]:
    """Model type and class name of the published code, which has masked modules for BERT only."""
    if config.model_type != "bert":
        return {}
    architecture = FAMILIES[config.model_type].architectures[head]
    return {"model_type": MASKED_TYPE, "architectures": [f"Masked{architecture}"]}


def _config_json(
    config: EncoderConfig, head: str, tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Content of ``config.json``."""
    family = FAMILIES[config.model_type]
    data = config.to_dict()
    data["architectures"] = [family.architectures[head]]
    if head == "qa" and config.num_labels != 2:
        # transformers sizes the question-answering head by the labels, leftovers included.
        del data["id2label"], data["label2id"]
    if head == "mlm":
        # Ours is tied, as an absent key says too; untied, the copy would be missing.
        data.pop("tie_word_embeddings", None)
    # transformers loads into this dtype, so it must be the stored one: that of the largest tensor.
    data["dtype"] = str(max(tensors.values(), key=lambda tensor: tensor.nbytes).dtype)
    return data


def _check_target(target: Path, exist_ok: bool) -> None:
    """`InputError` for a file, and for a folder with content unless a model is to be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"output folder {target} is a file; choose another name")
    if not any(target.iterdir()):
        return
    if not exist_ok:
        raise InputError(f"output folder {target} is not empty; choose another or remove it first")
    if not (target / CONFIG_JSON).is_file():
        raise InputError(
            f"output folder {target} is not empty and not a model folder, so it is not replaced"
        )


def _sibling(target: Path) -> Path:
    """Makes an empty folder next to the target, on the same disk, so that a rename moves it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"output folder {target} cannot be made: {error}") from error


def _open_permissions(folder: Path) -> None:
    """Sets the permissions mkdir would have given; mkdtemp makes folders for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)


def _swap(temporary: Path, target: Path, exist_ok: bool) -> None:
    """Renames ``temporary`` to ``target``; on failure the old folder stays."""
    if not (exist_ok and target.exists()):
        # An empty folder is replaced; one that was filled meanwhile raises.
        os.replace(temporary, target)
        return
    aside = _sibling(target)
    os.replace(target, aside)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside)
