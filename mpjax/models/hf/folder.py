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
from mpjax.files import parse_object, shown
from mpjax.models.blocks import LABELLED
from mpjax.models.config import EncoderConfig
from mpjax.models.families import CONFIG_JSON, FAMILIES, check_head, encoder, parse_config
from mpjax.models.hf.classes import (
    check_labels,
    check_words,
    has_classifier,
    relabel,
    reorder,
)
from mpjax.models.hf.hub import local_folder, no_config
from mpjax.models.hf.labels import folder_order
from mpjax.models.hf.scores import METHOD, StoredScores, is_scored, read_scores, split_scores
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.hf.weights import Params, check_dtype, initial, read_torch_names, shapes
from mpjax.models.label_words import (
    LABEL_WORDS,
    WORD_IDS,
    stored_as,
    with_words,
    without_words,
    word_ids,
)
from mpjax.models.packed.file import small_files
from mpjax.models.room import check_room

# Head -> endings of the class names in config.json under which it may have been saved.
_CLASS_ENDINGS = {
    "classification": ("ForSequenceClassification",),
    "tokens": ("ForTokenClassification",),
    "qa": ("ForQuestionAnswering",),
    "mlm": ("ForMaskedLM", "ForPreTraining"),
    "features": (),
}


@dataclass(frozen=True)
class Model:
    """A Linen module, its config and its parameters.

    Attributes:
      folder: source of the parameters, None for a new model.
      fresh: paths of newly initialised parameters, absent in the folder.
      unused: tensors of the folder without a place in a model with this head.
      stored_scores: method, threshold and scores of a training checkpoint, whose weights are not
        masked; None for a plain model.
      other_labels: class names of the folder's classifier where it was left out because it has
        another number of classes than was asked for.
      places: index in the folder's classifier of every class; () where it is drawn anew.
    """

    config: EncoderConfig
    module: nn.Module
    params: Params
    folder: Path | None
    fresh: tuple[str, ...]
    head: str
    unused: tuple[str, ...] = ()
    stored_scores: StoredScores | None = None
    other_labels: tuple[str, ...] = ()
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Request:
    """Arguments of `load_model` about the model to make, checked before the folder is opened."""

    head: str
    labels: Sequence[str] | Mapping[str, int] | None
    seed: int
    dtype: DTypeLike | None
    param_dtype: DTypeLike

    def __post_init__(self) -> None:
        check_head(self.head)
        check_dtype(self.param_dtype)
        check_labels(self.labels, self.head)


@dataclass(frozen=True)
class _Contents:
    """Config and tensors of an opened folder; ``weights`` is the file that lists the tensors."""

    folder: Path
    data: Mapping[str, Any]
    config: EncoderConfig
    weights: Path
    tensors: Mapping[str, np.ndarray]

    @property
    def is_training_checkpoint(self) -> bool:
        return is_scored(self.data, self.tensors)


def new_model(
    config: EncoderConfig,
    head: str,
    *,
    seed: int = 0,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
) -> Model:
    """A model with random parameters, drawn as for BERT: the start of pretraining.

    >>> from mpjax.models import BertConfig
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                   num_attention_heads=2, intermediate_size=16)
    >>> new_model(tiny, "mlm").params["mlm"]["bias"].shape
    (9,)
    """
    check_dtype(param_dtype)
    check_room(config.weights * np.dtype(param_dtype).itemsize, "the new model")
    expected = shapes(config, head)
    flat = {p: initial(p, shape, config, seed, param_dtype) for p, shape in expected.items()}
    module = encoder(config, head, param_dtype if dtype is None else dtype, param_dtype)
    return Model(config, module, unflatten_dict(flat, sep="/"), None, tuple(expected), head)


def load_model(
    name_or_dir: str | Path,
    head: str,
    *,
    labels: Sequence[str] | Mapping[str, int] | None = None,
    seed: int = 0,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
    revision: str | None = None,
) -> Model:
    """Loads a model from a local folder or, by its hub name, from the hub.

    A stored head of the same kind, and of a size that fits ``labels``, is loaded; otherwise a new
    head is drawn from ``seed`` and listed in ``fresh``. Where ``labels`` are the folder's in
    another order, or under other usual names, the rows of its classifier are permuted accordingly;
    where the folder's names do not tell, a warning says the order that is assumed.

    Args:
      head: ``classification``, ``tokens``, ``qa``, ``mlm``, ``features``, or ``label_words`` for a
        folder that has them.
      labels: class names in the order of the logits; default: those of the folder. A mapping
        gives the index of each in the folder's classifier, whose names must not contradict it.
      dtype: type the module computes in; default: ``param_dtype``.

    Raises:
      InputError: a name or folder that cannot be read, tensors that do not fit the config, or a
        training checkpoint with unmasked weights (see `load_with_scores` and `load_plain`).
    """
    request = _Request(head, labels, seed, dtype, param_dtype)
    contents = _open(local_folder(name_or_dir, revision))
    if contents.is_training_checkpoint:
        method = shown(repr(contents.data.get(METHOD)))
        raise InputError(
            f"{contents.weights} is a training checkpoint with unmasked weights "
            f"({METHOD} {method}), not a model; mpjax export makes one of it"
        )
    return _make(request, contents)


def load_with_scores(
    name_or_dir: str | Path,
    head: str,
    *,
    labels: Sequence[str] | Mapping[str, int] | None = None,
    seed: int = 0,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
    revision: str | None = None,
) -> Model:
    """`load_model` that reads training checkpoints too.

    Their weights stay unmasked, with method, threshold and scores in ``stored_scores``.

    Raises:
      InputError: as `load_model`, and for scores that do not fit the weights.
    """
    request = _Request(head, labels, seed, dtype, param_dtype)
    contents = _open(local_folder(name_or_dir, revision))
    if not contents.is_training_checkpoint:
        return _make(request, contents)
    weights, scores = split_scores(contents.tensors)
    stored = read_scores(
        scores,
        contents.data,
        contents.config,
        head,
        param_dtype=param_dtype,
        source=str(contents.weights),
    )
    return replace(_make(request, replace(contents, tensors=weights)), stored_scores=stored)


def read_config(folder: str | Path) -> EncoderConfig:
    """Parses the ``config.json`` of a model folder, without its weights."""
    path = Path(folder)
    return parse_config(path / CONFIG_JSON, _read_config(path))


def is_training_checkpoint(folder: str | Path) -> bool:
    """Whether a model folder holds unmasked weights, with scores or without; see `scores`."""
    path = Path(folder)
    return is_scored(_read_config(path), read_tensors(path)[1])


def stored_head(folder: str | Path) -> str:
    """The head that a model folder was saved with, by the class name in its config.

    Raises `InputError` for a class without one of our heads.
    """
    names = _read_config(Path(folder)).get("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    for head, endings in _CLASS_ENDINGS.items():
        if first.endswith(endings or "Model"):
            return LABEL_WORDS if head == "mlm" and has_label_words(folder) else head
    known = ", ".join(ending for endings in _CLASS_ENDINGS.values() for ending in endings)
    raise InputError(
        f"architectures in {Path(folder) / CONFIG_JSON} is {shown(repr(names))}, which does not "
        f"say a head that mpjax knows; known: names that end in Model, {known}"
    )


def has_label_words(folder: str | Path) -> bool:
    """Whether the classes of a folder's masked language model are told by label words."""
    data = _read_config(Path(folder))
    return WORD_IDS in data and _may_hold(data.get("architectures"), LABEL_WORDS)


def with_label_words(
    model: Model, labels: Sequence[str], words: Sequence[str], ids: Sequence[int]
) -> Model:
    """Classifier by label words, of a model with head ``mlm`` and with its parameters.

    Args:
      labels, words, ids: name, word and id of every class, in the order of the logits.

    Raises:
      InputError: as `label_words.word_ids`.
    """
    config = with_words(model.config, labels, words, ids)
    word_ids(config)
    module = model.module.clone(config=config, head=LABEL_WORDS)
    return replace(model, config=config, module=module, head=LABEL_WORDS)


def _open(folder: Path) -> _Contents:
    """Reads config and tensors of a folder or packed model."""
    data = _read_config(folder)
    config = parse_config(folder / CONFIG_JSON, data)
    return _Contents(folder, data, config, *read_tensors(folder))


def _make(request: _Request, contents: _Contents) -> Model:
    """The requested model, its parameters from the tensors of a folder."""
    config, stored, head = contents.config, contents.config, request.head
    labels = check_labels(request.labels, head)
    if labels is not None:
        config = relabel(config, labels)
    if head == LABEL_WORDS:
        check_words(config, contents.folder)
    else:
        config = without_words(config)
    tensors, other_heads = contents.tensors, {}
    if not _may_hold(contents.data.get("architectures"), head):
        tensors, other_heads = _split_heads(tensors, config)
    loaded = read_torch_names(
        tensors,
        config,
        head,
        param_dtype=request.param_dtype,
        seed=request.seed,
        resized=config.num_labels != stored.num_labels,
        source=str(contents.weights),
    )
    params, others, order = loaded.params, (), ()
    if head in LABELLED and labels is not None:
        names = stored.id2label or tuple(f"LABEL_{i}" for i in range(stored.num_labels))
        if "classifier/kernel" not in loaded.fresh:
            places = request.labels if isinstance(request.labels, Mapping) else None
            order = folder_order(names, labels, places, contents.folder)
            params, config = reorder(params, config, order)
        elif len(names) != len(labels) and has_classifier(tensors, config, head):
            others = names
    dtype = request.param_dtype if request.dtype is None else request.dtype
    module = encoder(config, head, dtype, request.param_dtype)
    unused = (*loaded.unused, *other_heads)
    return Model(
        config,
        module,
        params,
        contents.folder,
        loaded.fresh,
        head,
        unused,
        other_labels=others,
        places=order,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    found = small_files(folder, [CONFIG_JSON])
    if not found:
        raise no_config(folder)
    return parse_object(folder / CONFIG_JSON, found[CONFIG_JSON])


def _may_hold(architectures: object, head: str) -> bool:
    """Whether a folder of these class names may hold the head; without one, tensors decide."""
    if not isinstance(architectures, list):
        return True
    named = [str(name) for name in architectures if "For" in str(name)]
    endings = _CLASS_ENDINGS[stored_as(head)]
    return not named or any(name.endswith(endings) for name in named if endings)


def _split_heads(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Splits tensors into (body, heads), so that a token classifier's ``classifier`` is not taken
    for a sequence classifier's."""
    family = FAMILIES[config.model_type]
    body: dict[str, np.ndarray] = {}
    heads: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        first = name.split(".", 1)[0]
        (body if first in (family.prefix, *family.body) else heads)[name] = tensor
    return body, heads
