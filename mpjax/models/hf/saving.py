"""Writing a model as a Hugging Face folder, whole or not at all."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from mpjax.disk import writing
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES, check_head
from mpjax.models.hf.folder import CONFIG_JSON
from mpjax.models.hf.forms.weight_files import SAFETENSORS
from mpjax.models.hf.replacing import check_only_model
from mpjax.models.hf.scores import MASKED_TYPE, score_tensors
from mpjax.models.hf.tokenizer import tokenizer_files
from mpjax.models.hf.weights import Params, to_torch_names
from mpjax.models.label_words import stored_as
from mpjax.outputs import new_folder
from mpjax.temporary import beside, restore, swap, sync


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
    _checked_target(folder, exist_ok)
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
    needs = sum(map(len, files.values())) + sum(tensor.nbytes for tensor in tensors.values())
    with writing(folder, needs):
        target = _checked_target(folder, exist_ok)
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        with beside(target, folder=True) as temporary:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            _save_tensors(tensors, temporary / SAFETENSORS)
            finish(temporary)
            _put(temporary, target, exist_ok)
        sync(target.parent)
    return target


def finish(folder: Path) -> None:
    """Makes a temporary folder of files ready to be renamed: on the disk, and open to its readers.

    mkdtemp makes folders for the owner alone; mkdir would have given the usual permissions.
    """
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in (*folder.iterdir(), folder):
        sync(path)


def _save_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """`save_file`, with the `OSError` that it hides."""
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _checkpoint_keys(config: EncoderConfig, head: str) -> dict[str, Any]:
    """Model type and class name of the published code, which has masked modules for BERT only."""
    if config.model_type != "bert":
        return {}
    architecture = FAMILIES[config.model_type].architectures[stored_as(head)]
    return {"model_type": MASKED_TYPE, "architectures": [f"Masked{architecture}"]}


def _config_json(
    config: EncoderConfig, head: str, tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Content of ``config.json``."""
    family = FAMILIES[config.model_type]
    data = config.to_dict()
    data["architectures"] = [family.architectures[stored_as(head)]]
    if head == "qa" and config.num_labels != 2:
        # transformers sizes the question-answering head by the labels, leftovers included.
        del data["id2label"], data["label2id"]
    if stored_as(head) == "mlm":
        # Ours is tied, as an absent key says too; untied, the copy would be missing.
        data.pop("tie_word_embeddings", None)
    # transformers loads into this dtype, so it must be the stored one: that of the largest tensor.
    data["dtype"] = str(max(tensors.values(), key=lambda tensor: tensor.nbytes).dtype)
    return data


def _checked_target(folder: str | Path, exist_ok: bool) -> Path:
    """The folder without links; `InputError` for one in use, unless a model is to be replaced."""
    if exist_ok:
        target = new_folder(folder, marks=(CONFIG_JSON,), overwrite=True, named="output folder")
        check_only_model(target, "output folder")
        return target
    return new_folder(folder, named="output folder")


def _put(temporary: Path, target: Path, exist_ok: bool) -> None:
    """Renames a finished folder to its target; on failure the old folder stays."""
    if exist_ok and target.exists():
        swap(temporary, target)
    else:
        os.replace(temporary, target)  # an empty folder is replaced, one filled meanwhile raises
