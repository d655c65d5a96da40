"""Building blocks of encoders: embeddings, attention, feed-forward, layers, heads.

All kernels are plain 2-D ``(in, out)`` matrices, attention's included: heads exist only as a
reshape of activations, so that a pruning rule sees nothing but matrices. Families differ in
constants, which are properties of their configs, and in methods of subclasses.

Shapes: B examples, L tokens, H hidden size, N heads, D features of a head, V vocabulary.
"""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mpjax.errors import InputError
from mpjax.models.activations import ACTIVATIONS
from mpjax.models.config import EncoderConfig
from mpjax.models.dropout import dropout
from mpjax.models.label_words import LABEL_WORDS, word_ids
from mpjax.models.layers import Affine, Dense, Norm, Table, wide

HEADS = ("classification", "tokens", "qa", "mlm", "features")  # of every config
LABELLED = ("classification", "tokens", LABEL_WORDS)  # heads with an output per label


class EncoderModule(nn.Module):
    """Base of all modules of an encoder: config, dtypes, and constructors of leaf layers."""

    config: EncoderConfig
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def dense(self, features: int, name: str) -> Dense:
        return Dense(
            features, self.config.initializer_range, self.dtype, self.param_dtype, name=name
        )

    def norm(self) -> Norm | Affine:
        if self.config.layer_norm_type == "no_norm":
            return Affine(self.dtype, self.param_dtype, name="norm")
        return Norm(self.config.norm_epsilon, self.dtype, self.param_dtype, name="norm")

    def table(self, rows: int, name: str) -> Table:
        c = self.config
        return Table(rows, c.hidden_size, c.initializer_range, self.param_dtype, name=name)

    def child(self, module: "type[EncoderModule]", name: str) -> Any:
        return module(self.config, self.dtype, self.param_dtype, name=name)

    def activate(self, x: Array, name: str) -> Array:
        # In float32 or wider: 1 + erf keeps few digits in bfloat16 (8 bits of mantissa).
        return ACTIVATIONS[name](x.astype(wide(x.dtype))).astype(x.dtype)

    def dropout(self, x: Array, rate: float, deterministic: bool) -> Array:
        if deterministic or rate == 0.0:
            return x
        return dropout(self.make_rng("dropout"), x, rate)


class Embeddings(EncoderModule):
    """Word, token type and position vectors, summed and normalised: (B, L) ids to (B, L, H).

    ``token_type_ids`` are ignored by a model with one token type or none.
    """

    @nn.compact
    def __call__(self, input_ids: Array, token_type_ids: Array, deterministic: bool) -> Array:
        c = self.config
        length = input_ids.shape[1]
        if length > c.max_length:
            raise InputError(
                f"the input is {length} tokens long but the model has {c.max_length} positions for "
                f"tokens; use a max length of at most {c.max_length}"
            )
        # Summed in the dtype of the parameters; the norm below casts to `dtype`.
        x = self.table(c.vocab_size, "word")(input_ids)
        if c.token_types:
            types = token_type_ids if c.token_types > 1 else jnp.zeros_like(token_type_ids)
            x = x + self.table(c.token_types, "token_type")(types)
        x = x + self.table(c.max_position_embeddings, "position")(self.positions(input_ids))
        return self.dropout(self.norm()(x), c.hidden_dropout_prob, deterministic)

    def positions(self, input_ids: Array) -> Array:
        """Rows of the position table for (B, L) ids: (B, L), or (1, L) if the same for all."""
        return jnp.arange(input_ids.shape[1])[None]


class Attention(EncoderModule):
    """Multi-head self-attention and its residual: (B, L, H) to (B, L, H).

    ``mask`` is (B, 1, 1, L) bool, True for the tokens that may be attended to, or None. A layer
    that has lost all heads adds the output's bias only.
    """

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        c = self.config
        width = c.heads() * c.head_size
        query = self.heads(self.dense(width, "query")(x)) * c.head_size**-0.5
        key = self.heads(self.dense(width, "key")(x))
        value = self.heads(self.dense(width, "value")(x))

        scores = jnp.einsum("bnqd,bnkd->bnqk", query, key).astype(wide(self.dtype))
        if mask is not None:
            # The lowest finite number, not -inf: rows of padding only get uniform weights, not NaN.
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        probs = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        probs = self.dropout(probs, c.attention_probs_dropout_prob, deterministic)
        context = jnp.einsum("bnqk,bnkd->bnqd", probs, value)

        context = context.transpose(0, 2, 1, 3).reshape(*x.shape[:2], width)
        out = self.dense(c.hidden_size, "output")(context)
        return self.norm()(x + self.dropout(out, c.attention_output_dropout, deterministic))

    def heads(self, x: Array) -> Array:
        """Splits heads: (B, L, H) to (B, N, L, D)."""
        # Transposed once, to the layout of a batched product. Left to an einsum over (B, L, N, D),
        # XLA:CPU took two to three times longer forward.
        split = x.reshape(*x.shape[:2], self.config.heads(), self.config.head_size)
        return split.transpose(0, 2, 1, 3)


class FeedForward(EncoderModule):
    """Dense, activation, dense, and the residual: (B, L, H) to (B, L, H)."""

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:
        c = self.config
        hidden = self.activate(self.dense(c.units(), "in")(x), c.hidden_act)
        out = self.dense(c.hidden_size, "out")(hidden)
        return self.norm()(x + self.dropout(out, c.hidden_dropout_prob, deterministic))


class Layer(EncoderModule):
    """Transformer layer: attention, then feed-forward; its config is `EncoderConfig.layer`."""

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        x = self.child(Attention, "attention")(x, mask, deterministic)
        return self.child(FeedForward, "ffn")(x, deterministic)


class Stack(EncoderModule):
    """All layers, ``layer_0`` first, each with its own dropout key.

    Parameters and results are independent of the two options:

    * ``remat`` recomputes the activations of every layer in the backward pass;
    * ``scan_layers`` stacks the parameters of the layers inside the program and loops over one
      compiled layer.
    """

    remat: bool = False
    scan_layers: bool = False

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        def layer(i: int, **options: Any) -> Layer:
            return Layer(self.config.layer(i), self.dtype, self.param_dtype, **options)

        count = self.config.num_hidden_layers
        if self.is_initializing():
            for i in range(count):
                x = layer(i, name=f"layer_{i}")(x, mask, deterministic)
            return x
        per_layer = [self.variables["params"][f"layer_{i}"] for i in range(count)]
        keys = None if deterministic else jax.random.split(self.make_rng("dropout"), count)

        def run(i: int, x: Array, inputs: Any) -> tuple[Any, None]:
            params, key = inputs
            rngs = {} if key is None else {"dropout": key}
            apply = layer(i, parent=None).apply
            return apply({"params": params}, x, mask, deterministic, rngs=rngs), None

        if self.remat:
            run = jax.checkpoint(run, static_argnums=0)
        if self.scan_layers:
            # Compiles one layer instead of all: a BERT-base train step for a TPU v5e took 10 s to
            # compile, unrolled 96 to 264 s.
            inputs = stacked(per_layer, self.dtype), keys
            return jax.lax.scan(functools.partial(run, 0), x, inputs)[0]
        for i in range(count):
            x, _ = run(i, x, (per_layer[i], None if keys is None else keys[i]))
        return x


def stacked(layers: Sequence[Any], dtype: DTypeLike) -> Any:
    """Parameters of equal layers along a new first axis, kernels in ``dtype``.

    Raises `InputError` for layers of different sizes.
    """

    def stack(path: Any, *leaves: Array) -> Array:
        # Kernels are cast here rather than in `Dense`, so that the loop reads narrow ones.
        narrow = path[-1].key == "kernel"
        return jnp.stack([leaf.astype(dtype) if narrow else leaf for leaf in leaves])

    if len({str(jax.tree.map(jnp.shape, layer)) for layer in layers}) > 1:
        raise InputError(
            "the layers of this model differ in size, so they cannot be stacked; leave out "
            "--scan-layers"
        )
    return jax.tree_util.tree_map_with_path(stack, *layers)


class Body(EncoderModule):
    """Embeddings, layers and, if ``pooled``, the pooler.

    Returns the hidden states (B, L, H), and the pooled first token (B, H) or None.
    """

    embeddings: type[Embeddings] = Embeddings
    pooled: bool = False
    remat: bool = False
    scan_layers: bool = False

    @nn.compact
    def __call__(
        self, input_ids: Array, mask: Array | None, token_type_ids: Array, deterministic: bool
    ) -> tuple[Array, Array | None]:
        x = self.child(self.embeddings, "embeddings")(input_ids, token_type_ids, deterministic)
        c, run = self.config, (self.remat, self.scan_layers)
        x = Stack(c, self.dtype, self.param_dtype, *run, name="encoder")(x, mask, deterministic)
        if not self.pooled:
            return x, None
        return x, jnp.tanh(self.dense(self.config.hidden_size, "pooler")(x[:, 0]))


class MaskedLanguageHead(EncoderModule):
    """Dense, activation, norm, then the word table (V, H) transposed: (B, L, H) to (B, L, V).

    With ``only``, ids of words, the logits are those of these words: (B, L, W).
    """

    @nn.compact
    def __call__(self, x: Array, words: Array, only: tuple[int, ...] = ()) -> Array:
        c = self.config
        bias = self.param("bias", nn.initializers.zeros, (c.vocab_size,), self.param_dtype)
        if only:
            rows = jnp.asarray(only)
            words, bias = words[rows], bias[rows]
        x = self.norm()(self.activate(self.dense(c.hidden_size, "dense")(x), c.mlm_act))
        logits = jax.lax.dot_general(
            x.reshape(-1, c.hidden_size),
            words.astype(self.dtype),
            (((1,), (1,)), ((), ())),
            preferred_element_type=wide(self.dtype),
        )
        logits = logits + bias.astype(logits.dtype)[None, :]
        return logits.reshape(*x.shape[:2], len(bias))


class Encoder(EncoderModule):
    """Encoder with one head. A family sets the class attributes and overrides `summary`.

    Build it with `mpjax.models.encoder`, which documents inputs and outputs.
    """

    head: str = "classification"
    remat: bool = False  # see `Stack`
    scan_layers: bool = False

    prefix: ClassVar[str]  # name of the body among the params
    pooled: ClassVar[tuple[str, ...]] = ()  # heads with a pooler in the body
    embeddings: ClassVar[type[Embeddings]] = Embeddings

    @nn.compact
    def __call__(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        deterministic: bool = True,
    ) -> Array:
        c = self.config
        ids = jnp.asarray(input_ids)
        types = jnp.zeros_like(ids) if token_type_ids is None else jnp.asarray(token_type_ids)
        mask = None
        if attention_mask is not None:
            mask = jnp.asarray(attention_mask).astype(bool)[:, None, None, :]
        pooled = self.head in self.pooled
        body = Body(
            c, self.dtype, self.param_dtype, self.embeddings, pooled, self.remat, self.scan_layers,
            name=self.prefix,
        )  # fmt: skip
        hidden, first = body(ids, mask, types, deterministic)
        if self.head == "features":
            return hidden
        if self.head in ("mlm", LABEL_WORDS):
            words = body.variables["params"]["embeddings"]["word"]["embedding"]
            lm = self.child(MaskedLanguageHead, "mlm")
            if self.head == "mlm":
                return lm(hidden, words)
            return lm(hidden[:, :1], words, word_ids(c))[:, 0]
        if self.head == "tokens":
            each = self.dropout(hidden, c.token_dropout, deterministic)
            logits = self.dense(c.num_labels, "classifier")(each)
        elif self.head == "qa":
            logits = self.dense(2, "qa")(self.dropout(hidden, c.span_dropout, deterministic))
        else:
            first = hidden[:, 0] if first is None else first
            logits = self.dense(c.num_labels, "classifier")(self.summary(first, deterministic))
        return logits.astype(wide(self.dtype))

    def summary(self, first: Array, deterministic: bool) -> Array:
        """Input of the classifier, from the first token, pooled or not: (B, H) to (B, H)."""
        raise NotImplementedError
