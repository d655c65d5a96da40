"""Encoder configs, and their JSON form in a Hugging Face folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeGuard

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.activations import ACTIVATIONS
from mpjax.models.sizes import (
    FFN_PER_LAYER,
    HEADS_PER_LAYER,
    LARGEST_SIZE,
    PRUNED_HEADS,
    PrunedHeads,
    read_counts,
    read_dense_width,
    read_pruned_heads,
    size_keys,
)

# Keys of config.json that change the computation -> their values in a plain encoder. Any other
# value is refused: the folder would load and be silently wrong.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "quantization_config": (None,),
}
# no_norm: an affine map without statistics in place of every layer norm.
NORMS = ("layer_norm", "no_norm")


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes and constants common to all families; each family subclasses it.

    A field has one name in all families; ``keys`` maps it to the key in ``config.json``.

    Attributes:
      id2label: class names in the order of the logits; None for two unnamed classes, as in
        `transformers`.
      layer_norm_type: one of `NORMS`.
      pruned_heads: removed heads of every layer, () if none.
      ffn_per_layer: FFN units of every layer; None if all have ``intermediate_size``.
      extra: all other keys of ``config.json``, kept so that they survive reading and writing.

    Raises:
      InputError: sizes that do not fit together, or a variant that is not supported.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    hidden_act: str = "gelu"
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    id2label: tuple[str, ...] | None = None
    layer_norm_type: str = "layer_norm"
    pruned_heads: PrunedHeads = ()
    ffn_per_layer: tuple[int, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    model_type: ClassVar[str]
    # Field -> keys of config.json, where they differ; the first is written, all are read.
    keys: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Fields checked to be whole and positive, in [0, 1), and not negative. Families add theirs.
    sizes: ClassVar[tuple[str, ...]] = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    )
    rates: ClassVar[tuple[str, ...]] = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    not_negative: ClassVar[tuple[str, ...]] = ("initializer_range",)

    def __post_init__(self) -> None:
        self._check_fields()
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"{self.key('hidden_size')} {self.hidden_size} is not a multiple of "
                f"{self.key('num_attention_heads')} {self.num_attention_heads}"
            )
        if not isinstance(self.hidden_act, str) or self.hidden_act not in ACTIVATIONS:
            raise InputError(
                f"{self.key('hidden_act')} {shown(repr(self.hidden_act))} is not supported; "
                f"known: {', '.join(ACTIVATIONS)}"
            )
        if self.layer_norm_type not in NORMS:
            raise InputError(
                f"layer_norm_type {shown(repr(self.layer_norm_type))} is not supported; "
                f"known: {', '.join(NORMS)}"
            )
        layers, sizes = self.num_hidden_layers, self.size_keys()
        read_pruned_heads(sizes, layers, self.num_attention_heads)
        read_counts(sizes, FFN_PER_LAYER, layers, self.intermediate_size)
        read_dense_width(self.extra, self.intermediate_size)
        if self.id2label is not None and len(self.id2label) > _MOST_LABELS:
            raise InputError(f"id2label has more than {_MOST_LABELS} labels")
        if self.id2label is not None and len(self.id2label) == 0:
            raise InputError("id2label is empty; a classifier needs at least one label")
        for name, plain in _PLAIN.items():
            if name in self.extra and self.extra[name] not in plain:
                raise InputError(
                    f"{name} is {shown(repr(self.extra[name]))}, which changes what the model "
                    f"computes and is not supported; supported: {plain[0]!r}"
                )

    def _check_fields(self) -> None:
        """`InputError` for a field outside its range."""
        for f in fields(self):
            key = self.key(f.name)
            value: Any = getattr(self, f.name)
            found = f"found {shown(repr(value))}"
            whole = isinstance(value, int) and not isinstance(value, bool)
            if f.name in self.sizes and (not whole or value < 1):
                raise InputError(f"{key} must be a positive whole number, {found}")
            if f.name in self.sizes and value > (most := _LARGEST.get(f.name, LARGEST_SIZE)):
                raise InputError(f"{key} must be {most} at most, {found}")
            if f.name in self.rates and value is None and f.default is None:
                continue
            if f.name in self.rates and (not is_number(value) or not 0.0 <= value < 1.0):
                raise InputError(f"{key} must be a number from 0 to below 1, {found}")
            real = is_number(value) and 0 <= value < LARGEST_SIZE
            if f.name in self.not_negative and not real:
                raise InputError(f"{key} must be a number, 0 or more, {found}")
        if self.pad_token_id is not None and not _is_id(self.pad_token_id):
            found = shown(repr(self.pad_token_id))
            raise InputError(f"pad_token_id must be a whole number or null, found {found}")

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def heads(self, layer: int = 0) -> int:
        """Attention heads of a layer."""
        removed = len(self.pruned_heads[layer]) if self.pruned_heads else 0
        return self.num_attention_heads - removed

    def units(self, layer: int = 0) -> int:
        """FFN units of a layer."""
        return self.intermediate_size if self.ffn_per_layer is None else self.ffn_per_layer[layer]

    def layer(self, index: int) -> Self:
        """Config of a single layer; ``self`` where all layers are equal."""
        if not self.pruned_heads and self.ffn_per_layer is None:
            return self
        pruned = self.pruned_heads[index : index + 1]
        return replace(
            self, num_hidden_layers=1, pruned_heads=pruned, ffn_per_layer=(self.units(index),)
        )

    def size_keys(self) -> dict[str, Any]:
        """Keys of ``config.json`` for layers of different sizes; {} for a plain encoder."""
        return size_keys(self.pruned_heads, self.ffn_per_layer, self.num_attention_heads)

    @property
    def weights(self) -> int:
        """Entries of the tables and of the layers' matrices, without biases, norms and heads."""
        rows = self.vocab_size + self.max_position_embeddings + self.token_types
        layers = range(self.num_hidden_layers)
        matrices = sum(4 * self.heads(i) * self.head_size + 2 * self.units(i) for i in layers)
        return self.hidden_size * (rows + matrices)

    def dense(self) -> Self:
        """Config before heads and FFN units were removed."""
        width = read_dense_width(self.extra, self.intermediate_size)
        return replace(self, pruned_heads=(), ffn_per_layer=None, intermediate_size=width)

    @property
    def dense_weights(self) -> int:
        """`weights` before heads and FFN units were removed."""
        return self.dense().weights

    @property
    def num_labels(self) -> int:
        """Classes of the classification head."""
        return 2 if self.id2label is None else len(self.id2label)

    @property
    def max_length(self) -> int:
        """Largest number of tokens of an input: positions in the table."""
        return self.max_position_embeddings

    @property
    def token_types(self) -> int:
        """Rows of the token type table, 0 without one."""
        return 0

    @property
    def norm_epsilon(self) -> float:
        """Constant that layer norm adds to the variance."""
        return 1e-12

    @property
    def mlm_act(self) -> str:
        """Activation in the masked-LM head."""
        return self.hidden_act

    @property
    def attention_output_dropout(self) -> float:
        """Dropout of the attention output, before the residual is added."""
        return self.hidden_dropout_prob

    @property
    def head_dropout(self) -> float:
        """Dropout before the classifier."""
        return self.hidden_dropout_prob

    @property
    def token_dropout(self) -> float:
        """Dropout before the classifier of tokens."""
        return self.head_dropout

    @property
    def span_dropout(self) -> float:
        """Dropout before the question-answering head."""
        return 0.0

    @classmethod
    def key(cls, name: str) -> str:
        """Key in ``config.json`` of a field."""
        return cls.keys.get(name, (name,))[0]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Reads the JSON form. Absent keys take defaults, unknown ones go to ``extra``.

        >>> from mpjax.models import BertConfig
        >>> BertConfig.from_dict({"id2label": {"0": "no", "1": "yes"}}).id2label
        ('no', 'yes')
        """
        values: dict[str, Any] = {}
        known = {*_DERIVED, PRUNED_HEADS, HEADS_PER_LAYER, FFN_PER_LAYER}
        for f in fields(cls):
            if f.name in ("extra", "id2label", PRUNED_HEADS, FFN_PER_LAYER):
                continue
            keys = cls.keys.get(f.name, (f.name,))
            known |= set(keys)
            for key in keys:
                if key in data:
                    values.setdefault(f.name, data[key])
        extra = {k: v for k, v in data.items() if k not in known}
        plain = cls(**values, id2label=_read_labels(data), extra=extra)
        layers = plain.num_hidden_layers
        return replace(
            plain,
            pruned_heads=read_pruned_heads(data, layers, plain.num_attention_heads),
            ffn_per_layer=read_counts(data, FFN_PER_LAYER, layers, plain.intermediate_size),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: the inverse of ``from_dict``."""
        data = asdict(self)
        extra = data.pop("extra")
        labels = data.pop("id2label")
        del data[PRUNED_HEADS], data[FFN_PER_LAYER]  # `size_keys` writes them
        if self.layer_norm_type == NORMS[0]:
            del data["layer_norm_type"]  # the default; `transformers` has no such key
        data = {self.key(name): value for name, value in data.items()}
        if labels is not None:
            data["id2label"] = {str(i): name for i, name in enumerate(labels)}
            # Never read: the inverse cannot hold a name twice.
            data["label2id"] = {name: i for i, name in enumerate(labels)}
        return {**extra, **data, **self.size_keys(), "model_type": self.model_type}


# Keys derived anew whenever a folder is written: from the config, the last three with the weights.
_DERIVED = {"model_type", "id2label", "label2id", "num_labels"} | {
    "architectures",
    "dtype",
    "torch_dtype",
}


# Beyond every known encoder, and far below what would take minutes to list.
_LARGEST = {"num_hidden_layers": 256, "num_attention_heads": 1024}
_MOST_LABELS = 100_000


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31


def _read_labels(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Labels of config.json in the order of the logits."""
    labels = data.get("id2label")
    if labels is None:
        count = data.get("num_labels")
        if count is None:
            return None
        if not _is_id(count) or not 1 <= count <= _MOST_LABELS:
            raise InputError(
                f"num_labels must be a positive whole number, {_MOST_LABELS} at most, "
                f"found {shown(repr(count))}"
            )
        return tuple(f"LABEL_{i}" for i in range(count))
    if not isinstance(labels, Mapping) or {str(k) for k in labels} != {
        str(i) for i in range(len(labels))
    }:
        raise InputError(
            f"id2label must map 0, 1, 2, ... to label names without gaps, "
            f"found {shown(repr(labels))}"
        )
    by_index = {int(k): str(v) for k, v in labels.items()}
    return tuple(by_index[i] for i in range(len(by_index)))
