"""Models and compiled train steps that the benchmarks time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mpjax.models import GROUPS, PRUNABLE, BertConfig, EncoderConfig, encoder
from mpjax.optim import OptimizerConfig, make_optimizer
from mpjax.parallel.sharding import place_batch, shardings
from mpjax.pruning import RULES, Pruning, make_rule
from mpjax.training.losses import task_loss
from mpjax.training.state import ScoreInit, create_state
from mpjax.training.step import make_train_step

SIZES = {
    "large": BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "base": BertConfig(),
    "small": BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "tiny": BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    ),
}
RULES_TIMED = "magnitude,movement,movement:global,soft_movement,l0"


def build(
    name: str,
    config: BertConfig,
    batch_size: int,
    length: int,
    dtype: str = "float32",
    mesh: Mesh | None = None,
) -> tuple[Any, Any, Any]:
    """Compiled step, state and batch of a rule (or ``dense``, or ``RULE:global``) in its ramp.

    With a mesh they lie on its devices, else on the default one.
    """
    pruning = None if name == "dense" else _pruning(name)
    settings = OptimizerConfig(warmup_steps=1, final_lambda=100.0, frozen=GROUPS["embeddings"])
    tx = make_optimizer(settings, pruning, 1000)
    module = encoder(config, "classification", jnp.dtype(dtype))
    ids = jax.random.randint(jax.random.key(1), (batch_size, length), 0, config.vocab_size)
    batch = {
        "input_ids": ids,
        "attention_mask": jnp.ones_like(ids),
        "token_type_ids": jnp.zeros_like(ids),
        "labels": jnp.zeros(batch_size, jnp.int32),
    }
    params = jax.jit(module.init)(jax.random.key(0), ids[:1])["params"]
    init = ScoreInit()
    if pruning is not None and pruning.rule.has_scores and not pruning.rule.has_penalty:
        init = ScoreInit("uniform", 0.01)  # distinct scores, as after the first steps of a real run
    state = create_state(params, pruning, tx, score_init=init)
    places = None if mesh is None else shardings(state, mesh)
    if mesh is not None:
        state, batch = jax.device_put(state, places), place_batch(batch, mesh)
    step = make_train_step(module, pruning, tx, task_loss("classification"), shardings=places)
    return step, state, batch


def model_flops(config: EncoderConfig, batch_size: int, length: int) -> float:
    """FLOPs of a dense step's products: 2 a weight and token, 4·L·H a token for attention, thrice.

    Thrice for the forward and twice as much backward. Norms, dropout, masks and the optimiser do
    not count; with them a utilisation would flatter.
    """
    attention = 4 * config.num_hidden_layers * length * config.hidden_size
    return 3.0 * batch_size * length * (2 * prunable(config) + attention)


def prunable(config: EncoderConfig) -> int:
    """Entries of the layers' matrices."""
    width = config.hidden_size
    return config.num_hidden_layers * width * (4 * width + 2 * config.intermediate_size)


def _pruning(name: str) -> Pruning:
    name, _, scope = name.partition(":")
    options: dict[str, Any] = {"scope": scope} if scope else {}
    if RULES[name].is_density and RULES[name].has_penalty is False:
        options["final"] = 0.1
    return Pruning(make_rule(name, **options), PRUNABLE)
