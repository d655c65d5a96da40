"""Classes of a loaded model: names that are asked for, and the order of its classifier or words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpjax.errors import InputError
from mpjax.models.blocks import LABELLED
from mpjax.models.config import EncoderConfig
from mpjax.models.families import CONFIG_JSON, FAMILIES
from mpjax.models.hf.weights import Params
from mpjax.models.label_words import reordered, word_ids


def check_labels(
    labels: Sequence[str] | Mapping[str, int] | None, head: str
) -> tuple[str, ...] | None:
    """Label names as a tuple, None where the folder's are to stay; `InputError` for bad ones."""
    if labels is None or (not labels and head not in LABELLED):
        return None
    if isinstance(labels, str):
        raise InputError(f"labels must be a list of names, found the text {labels!r}")
    if head not in LABELLED:
        raise InputError(f"labels were given for the head {head!r}, which has none")
    names = tuple(str(name) for name in labels)
    if len(set(names)) != len(names):
        raise InputError(f"labels repeat a name: {', '.join(names)}")
    return names


def relabel(config: EncoderConfig, names: tuple[str, ...]) -> EncoderConfig:
    """The config with other labels; the problem type goes when their number changes."""
    extra = dict(config.extra)
    if len(names) != config.num_labels:
        extra.pop("problem_type", None)
    return replace(config, id2label=names, extra=extra)


def reorder(
    params: Params, config: EncoderConfig, order: tuple[int, ...]
) -> tuple[Params, EncoderConfig]:
    """Takes the classes in the order of their indices: of the classifier, or of the label words."""
    if order == tuple(range(len(order))):
        return params, config
    if "classifier" not in params:
        return params, reordered(config, order)
    classifier, places = params["classifier"], np.asarray(order)
    moved = {"kernel": classifier["kernel"][:, places], "bias": classifier["bias"][places]}
    return {**params, "classifier": moved}, config


def check_words(config: EncoderConfig, folder: Path) -> None:
    """Raises `InputError`, with the file's path, unless the config has a word for each label."""
    try:
        word_ids(config)
    except InputError as error:
        raise InputError(f"{folder / CONFIG_JSON}: {error}") from error


def has_classifier(tensors: Mapping[str, np.ndarray], config: EncoderConfig, head: str) -> bool:
    """Whether a folder has the last layer of a classifier, of any size."""
    module = FAMILIES[config.model_type].modules(config, head)["classifier"]
    return f"{module}.weight" in tensors
