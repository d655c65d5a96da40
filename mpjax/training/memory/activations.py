"""Activations that the backward pass of an encoder keeps, counted from its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from mpjax.models import EncoderConfig

# Arrays of a layer that are alive when its backward pass begins, by shape, fitted to what XLA:CPU
# allots for train steps in float32 with dropout (`python -m experiments.bench step_memory`).
# (tokens, H): input, output and centred values of the two norms; dropout marks are bytes.
_HIDDEN = 4
# (tokens, heads x D): query, key, value, context.
_HEADS = 4
# (tokens, FFN units): before and after the activation function, and two of its slope.
_UNITS = 4
# (heads, tokens of a row, tokens of a row): scores, probabilities before and after dropout, marks.
_SCORES = 4
_EMBEDDINGS = 3  # (tokens, H) outside of the layers
_LOGITS = 3  # logits, their softmax and its slope


@dataclass(frozen=True)
class Computed:
    """How one device computes a batch.

    Attributes:
      rows, length: rows and padded tokens of a row that are computed at once.
      width: bytes of a number of an activation.
      microbatches: parts of a batch, in turn.
      remat: layers keep their input only, and the rest is computed again, one layer at a time.
      stacked: layers are stacked and looped over.
      tensor: devices that share the heads and feed-forward units of a layer.
    """

    rows: int
    length: int
    width: int = 4
    microbatches: int = 1
    remat: bool = False
    stacked: bool = False
    tensor: int = 1


def activation_bytes(config: EncoderConfig, head: str, computed: Computed) -> int:
    """Bytes of the activations of an encoder with a head on one device.

    A layer of H features, heads of D each and F feed-forward units keeps, of B rows of L tokens,
    ``BL·(4H + 4·heads·D + 4F) + 4·heads·BL²`` numbers.

    >>> from mpjax.models import BertConfig
    >>> activation_bytes(BertConfig(), "classification", Computed(rows=16, length=128))
    2434793472
    """
    tokens = computed.rows * computed.length

    def layer(i: int) -> int:
        heads = config.heads(i) / computed.tensor
        units = config.units(i) / computed.tensor
        features = _HIDDEN * config.hidden_size + _HEADS * heads * config.head_size
        return int(tokens * (features + _UNITS * units + _SCORES * heads * computed.length))

    layers = [layer(i) for i in range(config.num_hidden_layers)]
    kept = (
        max(layers) + tokens * config.hidden_size * len(layers) if computed.remat else sum(layers)
    )
    embeddings = _EMBEDDINGS * tokens * config.hidden_size
    outputs = {"mlm": config.vocab_size, "tokens": config.num_labels, "qa": 2}.get(head, 0)
    return computed.width * (kept + embeddings) + 4 * _LOGITS * tokens * outputs
