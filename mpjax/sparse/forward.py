"""Forward pass of an encoder in PyTorch, each encoder matrix dense or in CSR.

The computation is that of `mpjax.models.blocks`, without dropout, for all families and heads, and
for shrunk models, whose layers differ in size. Activations are (features, tokens) throughout (see
`mpjax.sparse.matrices`), the tokens of an example side by side.

Shapes: B examples, L tokens, T = B·L, H hidden size, N heads, D features of a head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mpjax.errors import InputError
from mpjax.models import FAMILIES, LABEL_WORDS, PRUNABLE, EncoderConfig, Model, word_ids
from mpjax.pruning import flatten
from mpjax.sparse.matrices import Chooser, Form, product, summary

# Tokens computed at a time. Their activations stay in the cache of a core: at 1024 at once the
# product of 3072 x 768 at 3% took 1.8 times as long per token.
TOGETHER = 128

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_fast": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}
# Module and activation between the first token and the classifier.
_SUMMARIES: Mapping[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "bert": ("bert/pooler", torch.tanh),
    "roberta": ("pre_classifier", torch.tanh),
    "distilbert": ("pre_classifier", F.relu),
}


@dataclass(frozen=True)
class Inputs:
    """Some rows of a batch: ids and token types (B, L), and the mask as it is added to scores."""

    ids: Tensor
    types: Tensor
    added: Tensor  # (B, 1, 1, L): 0 for tokens that may be attended to, else the lowest number


@dataclass(frozen=True)
class SparseModel:
    """An encoder with one head; calling it on a batch gives the logits of `mpjax.models.encoder`.

    Attributes:
      forms: form of every encoder matrix by its path.
      params: the other parameters by path: matrices (out, in), vectors (n, 1), tables as they are.
    """

    config: EncoderConfig
    head: str
    forms: Mapping[str, Form]
    params: Mapping[str, Tensor]

    def __call__(self, batch: Mapping[str, Any]) -> np.ndarray:
        """Logits, float32, of ``input_ids`` and, if given, ``attention_mask`` and types (B, L)."""
        rows, length = batch["input_ids"].shape
        step = max(TOGETHER // length, 1)
        with torch.inference_mode():
            parts = [self._logits(_inputs(batch, i, i + step)) for i in range(0, rows, step)]
            return torch.cat(parts).numpy()

    @property
    def spared(self) -> int:
        """Zero weights that are not multiplied: those of the matrices in CSR."""
        csr = [form for form in self.forms.values() if form.is_csr]
        return sum(form.weight.shape.numel() - form.nonzero for form in csr)

    @property
    def summary(self) -> str:
        """Forms of the encoder matrices, in words."""
        return summary(self.forms)

    def _logits(self, inputs: Inputs) -> Tensor:
        x, body = self._embeddings(inputs), FAMILIES[self.config.model_type].prefix
        for i in range(self.config.num_hidden_layers):
            layer = f"{body}/encoder/layer_{i}"
            x = self._attention(x, f"{layer}/attention", self.config.heads(i), inputs)
            x = self._feed_forward(x, f"{layer}/ffn")
        if self.head == "classification":
            module, activation = _SUMMARIES[self.config.model_type]
            first = x[:, :: inputs.ids.shape[1]].contiguous()
            return self._dense(activation(self._dense(first, module)), "classifier").t()
        if self.head == LABEL_WORDS:
            first = x[:, :: inputs.ids.shape[1]].contiguous()
            return self._words(first, f"{body}/embeddings", list(word_ids(self.config))).t()
        if self.head == "mlm":
            x = self._words(x, f"{body}/embeddings", slice(None))
        elif self.head != "features":
            x = self._dense(x, "classifier" if self.head == "tokens" else "qa")
        return x.t().reshape(*inputs.ids.shape, -1)

    def _words(self, x: Tensor, embeddings: str, rows: list[int] | slice) -> Tensor:
        """Masked-LM logits of some rows of the word table: (H, T) to (rows, T)."""
        x = ACTIVATIONS[self.config.mlm_act](self._dense(x, "mlm/dense"))
        words, bias = self.params[f"{embeddings}/word/embedding"], self.params["mlm/bias"]
        return product(words[rows], self._norm(x, "mlm/norm"), bias[rows])

    def _embeddings(self, inputs: Inputs) -> Tensor:
        c, name = self.config, f"{FAMILIES[self.config.model_type].prefix}/embeddings"
        indices = {"word": inputs.ids, "position": _positions(inputs.ids, c)}
        if c.token_types:
            indices["token_type"] = inputs.types if c.token_types > 1 else inputs.types * 0
        tables = {kind: self.params[f"{name}/{kind}/embedding"] for kind in indices}
        vectors = [F.embedding(at, tables[kind]) for kind, at in indices.items()]
        total = torch.stack(vectors).sum(0)
        return self._norm(total.reshape(-1, c.hidden_size).t().contiguous(), f"{name}/norm")

    def _attention(self, x: Tensor, name: str, heads: int, inputs: Inputs) -> Tensor:
        """Self-attention and its residual: (H, T) to (H, T)."""
        (rows, length), size = inputs.ids.shape, self.config.head_size

        def split(part: str) -> Tensor:  # (N·D, T) to (B·N, D, L)
            y = self._dense(x, f"{name}/{part}").view(heads, size, rows, length)
            return y.permute(2, 0, 1, 3).reshape(rows * heads, size, length)

        query, key, value = split("query"), split("key"), split("value")
        added = inputs.added.expand(rows, heads, 1, length).reshape(-1, 1, length)
        scores = torch.baddbmm(added, query.transpose(1, 2), key, alpha=size**-0.5)
        context = torch.bmm(value, torch.softmax(scores, -1).transpose(1, 2))
        context = context.view(rows, heads, size, length).permute(1, 2, 0, 3)
        context = context.reshape(heads * size, rows * length)
        return self._norm(self._dense(context, f"{name}/output").add_(x), f"{name}/norm")

    def _feed_forward(self, x: Tensor, name: str) -> Tensor:
        """Dense, activation, dense, and the residual: (H, T) to (H, T)."""
        hidden = ACTIVATIONS[self.config.hidden_act](self._dense(x, f"{name}/in"))
        return self._norm(self._dense(hidden, f"{name}/out").add_(x), f"{name}/norm")

    def _dense(self, x: Tensor, name: str) -> Tensor:
        form = self.forms.get(f"{name}/kernel")
        weight = self.params[f"{name}/kernel"] if form is None else form.weight
        return product(weight, x, self.params[f"{name}/bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        """Norm of every column, by the squared deviations as `mpjax.models.layers.Norm`."""
        scale, bias = self.params[f"{name}/scale"], self.params[f"{name}/bias"]
        if self.config.layer_norm_type == "no_norm":
            return torch.addcmul(bias, x, scale)
        # Written out: `layer_norm` wants features last, which costs two transposes, half as much
        # again.
        x = x - x.mean(0, keepdim=True)
        spread = x.square().mean(0, keepdim=True).add_(self.config.norm_epsilon).rsqrt_()
        return torch.addcmul(bias, x.mul_(spread), scale)


def convert(model: Model, choose: Chooser) -> SparseModel:
    """The model with every encoder matrix in the form that ``choose`` gives.

    Raises:
      InputError: a family whose classifier is not known here.
    """
    kind = model.config.model_type
    if kind not in _SUMMARIES:
        raise InputError(
            f"{kind} has no sparse runtime; known: {', '.join(_SUMMARIES)}; use --runtime dense"
        )
    forms, params = {}, {}
    for path, leaf in flatten(jax.device_get(model.params)).items():
        tensor = torch.tensor(np.asarray(leaf, np.float32))
        if path.endswith("/kernel"):
            tensor = tensor.t().contiguous()
        elif not path.endswith("/embedding"):
            tensor = tensor[:, None]
        if re.fullmatch(PRUNABLE, path):
            forms[path] = choose(tensor)
        else:
            params[path] = tensor
    return SparseModel(model.config, model.head, forms, params)


def _inputs(batch: Mapping[str, Any], start: int, stop: int) -> Inputs:
    """Rows of a batch; without a mask all tokens count, without types all are 0."""

    def rows(name: str) -> Tensor | None:
        found = batch.get(name)
        return None if found is None else torch.tensor(np.asarray(found[start:stop])).long()

    ids, mask, types = (rows(n) for n in ("input_ids", "attention_mask", "token_type_ids"))
    assert ids is not None
    added = torch.zeros(ids.shape)
    if mask is not None:
        added.masked_fill_(mask == 0, torch.finfo(added.dtype).min)
    return Inputs(ids, torch.zeros_like(ids) if types is None else types, added[:, None, None])


def _positions(ids: Tensor, config: EncoderConfig) -> Tensor:
    """Rows of the position table; RoBERTa's skip padding, see `RobertaEmbeddings`."""
    if config.model_type != "roberta":
        return torch.arange(ids.shape[1]).expand(ids.shape)
    pad = config.pad_token_id
    assert pad is not None  # checked by the config
    real = (ids != pad).long()
    return real.cumsum(1) * real + pad
