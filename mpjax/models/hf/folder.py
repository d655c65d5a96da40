"""Models as Hugging Face folders: ``config.json``, weights, tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.typing import DTypeLike

from mpjax.errors import InputError
from mpjax.files import parse_object
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES, check_head, encoder, family_of
from mpjax.models.hf.hub import local_folder
from mpjax.models.hf.scores import METHOD, Scored, is_scored, read_scores, split_scores
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.hf.weights import Params, check_dtype, initial, read_torch_names, shapes
from mpjax.models.packed.file import small_files

CONFIG = "config.json"
# What the class names in config.json end with, for each head a folder may have been saved with.
_KINDS = {
    "classification": ("ForSequenceClassification",),
    "qa": ("ForQuestionAnswering",),
    "mlm": ("ForMaskedLM", "ForPreTraining"),
    "features": (),
}


@dataclass(frozen=True)
class Model:
    """A model with its parameters.

    ``fresh`` are the parameter paths that were newly initialised because the folder has no value
    for them; ``unused`` the tensors of the folder that this head has no use for; ``folder`` is
    None for a model that did not come from one; ``scored`` is what a training checkpoint holds
    beside its weights, which are not masked then.
    """

    config: EncoderConfig
    module: nn.Module
    params: Params
    folder: Path | None
    fresh: tuple[str, ...]
    head: str
    unused: tuple[str, ...] = ()
    scored: Scored | None = None


def new_model(
    config: EncoderConfig,
    head: str,
    *,
    seed: int = 0,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> Model:
    """A model with random parameters, as BERT and its kin draw them: the start of a pretraining.

    >>> from mpjax.models import BertConfig
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                   num_attention_heads=2, intermediate_size=16)
    >>> new_model(tiny, "mlm").params["mlm"]["bias"].shape
    (9,)
    """
    check_dtype(param_dtype)
    expected = shapes(config, head)
    flat = {p: initial(p, shape, config, seed, param_dtype) for p, shape in expected.items()}
    module = encoder(config, head, param_dtype if dtype is None else dtype, param_dtype)
    return Model(config, module, unflatten_dict(flat, sep="/"), None, tuple(expected), head)


def load_model(
    name_or_dir: str | Path,
    head: str,
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
    revision: str | None = None,
    keep_scores: bool = False,
) -> Model:
    """A model from a local folder or, by its hub name, from the hub.

    The head of the folder is used when it is of the kind asked for and its size fits ``labels``;
    else a new head is drawn from ``seed`` and listed in ``fresh``. Where ``labels`` are the
    folder's in another order, the rows of its classifier are put in the order asked for.

    Args:
      head: ``classification``, ``qa``, ``mlm`` or ``features``.
      labels: class names in the order of the logits; those of the folder unless given.
      dtype: what the module computes in; ``param_dtype`` unless given.
      keep_scores: read a training checkpoint too, its weights unmasked and the scores beside them.

    Raises `InputError` for whatever is wrong with the folder or the name.
    """
    check_head(head)
    check_dtype(param_dtype)
    names = _check_labels(labels, head)
    folder = local_folder(name_or_dir, revision)
    data = _read_config(folder)
    config = stored = _parse_config(folder, data)
    if names is not None:
        config = _relabel(config, names)
    path, tensors = read_tensors(folder)
    scored = None
    if is_scored(data, tensors):
        if not keep_scores:
            raise InputError(
                f"{path} is a training checkpoint with unmasked weights "
                f"({METHOD} {data.get(METHOD)!r}), not a model; mpjax export makes one of it"
            )
        tensors, scores = split_scores(tensors)
        scored = read_scores(scores, data, config, head, param_dtype=param_dtype, source=str(path))
    strangers: dict[str, np.ndarray] = {}
    if not _same_kind(data.get("architectures"), head):
        tensors, strangers = _split_heads(tensors, config)
    read = read_torch_names(
        tensors,
        config,
        head,
        param_dtype=param_dtype,
        seed=seed,
        resized=config.num_labels != stored.num_labels,
        source=str(path),
    )
    params = read.params
    if head == "classification" and "classifier/kernel" not in read.fresh:
        params = _reorder(params, stored.id2label, config.id2label)
    module = encoder(config, head, param_dtype if dtype is None else dtype, param_dtype)
    unused = (*read.unused, *strangers)
    return Model(config, module, params, folder, read.fresh, head, unused, scored)


def read_config(folder: str | Path) -> EncoderConfig:
    """What the ``config.json`` of a model folder describes, the weights unread."""
    path = Path(folder)
    return _parse_config(path, _read_config(path))


def is_training_checkpoint(folder: str | Path) -> bool:
    """Whether a model folder holds unmasked weights, with or without scores; see `scores`."""
    path = Path(folder)
    return is_scored(_read_config(path), read_tensors(path)[1])


def stored_head(folder: str | Path) -> str:
    """The head that a model folder was saved with, by the class name in its config.

    Raises `InputError` for a class whose head is none of ours.
    """
    names = _read_config(Path(folder)).get("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    for head, kinds in _KINDS.items():
        if first.endswith(kinds or "Model"):
            return head
    raise InputError(
        f"architectures in {Path(folder) / CONFIG} is {names!r}, which does not say a head that "
        "mpjax knows; known: names that end in Model, "
        f"{', '.join(kind for kinds in _KINDS.values() for kind in kinds)}"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    found = small_files(folder, [CONFIG])
    if not found:
        raise InputError(f"{folder} has no {CONFIG}; give the folder of a transformers model")
    return parse_object(folder / CONFIG, found[CONFIG])


def _parse_config(folder: Path, data: Mapping[str, Any]) -> EncoderConfig:
    try:
        return family_of(data.get("model_type")).config(data)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error


def _same_kind(architectures: object, head: str) -> bool:
    """Whether the folder's head may be of the kind asked for. No class name: the tensors decide."""
    if not isinstance(architectures, list):
        return True
    named = [str(name) for name in architectures if "For" in str(name)]
    return not named or any(name.endswith(_KINDS[head]) for name in named if _KINDS[head])


def _split_heads(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The body's tensors and the others: a token classifier's ``classifier`` is none of ours."""
    family = FAMILIES[config.model_type]
    body: dict[str, np.ndarray] = {}
    other: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        first = name.split(".", 1)[0]
        (body if first in (family.prefix, *family.parts) else other)[name] = tensor
    return body, other


def _check_labels(labels: Sequence[str] | None, head: str) -> tuple[str, ...] | None:
    if labels is None or (not labels and head != "classification"):
        return None
    if isinstance(labels, str):
        raise InputError(f"labels must be a list of names, found the text {labels!r}")
    if head != "classification":
        raise InputError(f"labels were given for the head {head!r}, which has none")
    names = tuple(str(name) for name in labels)
    if len(set(names)) != len(names):
        raise InputError(f"labels repeat a name: {', '.join(names)}")
    return names


def _relabel(config: EncoderConfig, names: tuple[str, ...]) -> EncoderConfig:
    """The config with other labels, and without a problem type that spoke of the old ones."""
    extra = dict(config.extra)
    if len(names) != config.num_labels:
        extra.pop("problem_type", None)
    return replace(config, id2label=names, extra=extra)


def _reorder(
    params: Params, stored: tuple[str, ...] | None, asked: tuple[str, ...] | None
) -> Params:
    """Params whose classifier gives the logits of ``stored`` labels in the order ``asked``."""
    if stored is None or asked is None or stored == asked:
        return params
    old, new = [s.lower() for s in stored], [s.lower() for s in asked]
    if sorted(old) != sorted(new) or len(set(old)) != len(old):
        return params
    order = np.asarray([old.index(name) for name in new])
    classifier = params["classifier"]
    moved = {"kernel": classifier["kernel"][:, order], "bias": classifier["bias"][order]}
    return {**params, "classifier": moved}
