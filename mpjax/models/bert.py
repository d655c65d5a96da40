"""BERT in Flax Linen: the encoder and the four things put on top of it.

All kernels are plain 2-D ``(in, out)`` matrices, attention's included: heads exist only as a
reshape of activations, so that a pruning rule sees nothing but matrices.

Shapes: B examples, L tokens, H hidden size, N heads, D = H/N, V vocabulary.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from mpjax.errors import InputError
from mpjax.models.activations import ACTIVATIONS
from mpjax.models.config import BertConfig
from mpjax.models.layers import Dense, Norm, Table, dropout, wide

HEADS = ("classification", "qa", "mlm", "features")


class Block(nn.Module):
    """What every part of the model shares: the config, the two dtypes, the leaf layers."""

    config: BertConfig
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    def dense(self, features: int, name: str) -> Dense:
        return Dense(
            features, self.config.initializer_range, self.dtype, self.param_dtype, name=name
        )

    def norm(self) -> Norm:
        return Norm(self.config.layer_norm_eps, self.dtype, self.param_dtype, name="norm")

    def table(self, rows: int, name: str) -> Table:
        c = self.config
        return Table(rows, c.hidden_size, c.initializer_range, self.param_dtype, name=name)

    def part(self, block: "type[Block]", name: str) -> Any:
        return block(self.config, self.dtype, self.param_dtype, name=name)

    def activate(self, x: Array) -> Array:
        # In float32 or wider: 1 + erf keeps few digits in bfloat16.
        return ACTIVATIONS[self.config.hidden_act](x.astype(wide(x.dtype))).astype(x.dtype)

    def dropout(self, x: Array, rate: float, deterministic: bool) -> Array:
        if deterministic or rate == 0.0:
            return x
        return dropout(self.make_rng("dropout"), x, rate)


class Embeddings(Block):
    """Word + token type + position vectors, normalised: (B, L) ids to (B, L, H)."""

    @nn.compact
    def __call__(self, input_ids: Array, token_type_ids: Array, deterministic: bool) -> Array:
        c = self.config
        length = input_ids.shape[1]
        if length > c.max_position_embeddings:
            raise InputError(
                f"the input is {length} tokens long but the model has {c.max_position_embeddings} "
                f"positions; use a max length of at most {c.max_position_embeddings}"
            )
        word = self.table(c.vocab_size, "word")(input_ids)
        token_type = self.table(c.type_vocab_size, "token_type")(token_type_ids)
        position = self.table(c.max_position_embeddings, "position")(jnp.arange(length)[None])
        # Summed in the dtype of the parameters: the norm that follows makes it `dtype`.
        x = self.norm()(word + token_type + position)
        return self.dropout(x, c.hidden_dropout_prob, deterministic)


class Attention(Block):
    """Multi-head self-attention and its residual: (B, L, H) to (B, L, H).

    ``mask`` is (B, 1, 1, L) bool, True for the tokens that may be attended to, or None.
    """

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        c = self.config
        query = self.heads(self.dense(c.hidden_size, "query")(x)) * c.head_size**-0.5
        key = self.heads(self.dense(c.hidden_size, "key")(x))
        value = self.heads(self.dense(c.hidden_size, "value")(x))

        scores = jnp.einsum("bnqd,bnkd->bnqk", query, key).astype(wide(self.dtype))
        if mask is not None:
            # The lowest finite number, not -inf: a row that is all padding stays uniform, not NaN.
            scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        probs = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        probs = self.dropout(probs, c.attention_probs_dropout_prob, deterministic)
        context = jnp.einsum("bnqk,bnkd->bnqd", probs, value)

        out = self.dense(c.hidden_size, "output")(context.transpose(0, 2, 1, 3).reshape(x.shape))
        return self.norm()(x + self.dropout(out, c.hidden_dropout_prob, deterministic))

    def heads(self, x: Array) -> Array:
        """(B, L, H) to (B, N, L, D): the layout a batched product wants, made once and spelt out.

        Left to an einsum over (B, L, N, D), XLA:CPU took two to three times longer forward.
        """
        split = x.reshape(*x.shape[:2], self.config.num_attention_heads, self.config.head_size)
        return split.transpose(0, 2, 1, 3)


class FeedForward(Block):
    """Two dense layers with the activation between, and the residual: (B, L, H) to (B, L, H)."""

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:
        c = self.config
        hidden = self.activate(self.dense(c.intermediate_size, "in")(x))
        out = self.dense(c.hidden_size, "out")(hidden)
        return self.norm()(x + self.dropout(out, c.hidden_dropout_prob, deterministic))


class Layer(Block):
    """One transformer layer: attention, then feed-forward."""

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        x = self.part(Attention, "attention")(x, mask, deterministic)
        return self.part(FeedForward, "ffn")(x, deterministic)


class Stack(Block):
    """All the layers, ``layer_0`` first."""

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, deterministic: bool) -> Array:
        for i in range(self.config.num_hidden_layers):
            x = self.part(Layer, f"layer_{i}")(x, mask, deterministic)
        return x


class Body(Block):
    """Embeddings, layers and, where the head has one, the pooler.

    Returns the hidden states (B, L, H) and the pooled first token (B, H) or None.
    """

    pooled: bool = False

    @nn.compact
    def __call__(
        self, input_ids: Array, mask: Array | None, token_type_ids: Array, deterministic: bool
    ) -> tuple[Array, Array | None]:
        x = self.part(Embeddings, "embeddings")(input_ids, token_type_ids, deterministic)
        x = self.part(Stack, "encoder")(x, mask, deterministic)
        if not self.pooled:
            return x, None
        return x, jnp.tanh(self.dense(self.config.hidden_size, "pooler")(x[:, 0]))


class MaskedLanguageHead(Block):
    """Dense, activation, norm, then the word table (V, H) transposed: (B, L, H) to (B, L, V)."""

    @nn.compact
    def __call__(self, x: Array, words: Array) -> Array:
        c = self.config
        bias = self.param("bias", nn.initializers.zeros, (c.vocab_size,), self.param_dtype)
        x = self.norm()(self.activate(self.dense(c.hidden_size, "dense")(x)))
        logits = jax.lax.dot_general(
            x.reshape(-1, c.hidden_size),
            words.astype(self.dtype),
            (((1,), (1,)), ((), ())),
            preferred_element_type=wide(self.dtype),
        )
        logits = logits + bias.astype(logits.dtype)[None, :]
        return logits.reshape(*x.shape[:2], c.vocab_size)


class Bert(Block):
    """A BERT encoder with one head. Build it with `mpjax.models.encoder`."""

    head: str = "classification"

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
        # The bare encoder has no use for the pooler, but its folder has one: keep it among the
        # parameters. Under jit the unused product disappears.
        pooled = self.head in ("classification", "features")
        body = Body(c, self.dtype, self.param_dtype, pooled=pooled, name="bert")
        hidden, first = body(ids, mask, types, deterministic)
        if self.head == "features":
            return hidden
        if self.head == "mlm":
            words = body.variables["params"]["embeddings"]["word"]["embedding"]
            return self.part(MaskedLanguageHead, "mlm")(hidden, words)
        if first is None:
            logits = self.dense(2, "qa")(hidden)
        else:
            first = self.dropout(first, c.head_dropout, deterministic)
            logits = self.dense(c.num_labels, "classifier")(first)
        return logits.astype(wide(self.dtype))
