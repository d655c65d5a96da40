"""The optax chain of a pruning run; every idea is a transformation of its own.

All of them work on ``variables = {"params": ..., "scores": ...}``, the two Flax collections that a
pruned model trains, and none needs another: each can be put into any other optax chain.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from mpjax.pruning import (
    ELEMENT,
    Rule,
    Schedule,
    Structure,
    cubic_schedule,
    flatten,
    linear_warmup_decay,
    unflatten,
)

State = TypeVar("State")

FROZEN, NO_DECAY, WEIGHTS, SCORES = "frozen", "no_decay", "weights", "scores"


class ScorePenaltyState(NamedTuple):
    count: jax.Array  # shape=(), dtype=int32: steps taken


class ClipState(NamedTuple):
    norm: jax.Array  # shape=(), float: gradient norm of the last step, before clipping


class SparsityState(NamedTuple):
    step: jax.Array  # shape=(), dtype=int32: the t of the *next* forward pass
    threshold: jax.Array  # shape=(), float: its density or τ
    lam: jax.Array  # shape=(), float: its λ


def add_score_penalty(
    penalty: Callable[[Any], jax.Array], lam: Schedule, *, first_step: int = 0
) -> optax.GradientTransformation:
    """Adds λ(t)·∂R/∂S to the gradient of the scores, as ``loss += λ(t)·R(S)`` would.

    Args:
      penalty: R, from a tree of scores to a scalar; for example ``Rule.penalty``.
      lam: λ as a function of the step.
      first_step: the t of the first update.

    >>> import jax.numpy as jnp
    >>> tx = add_score_penalty(lambda s: jnp.sum(s["a"] ** 2), lambda t: 0.5)
    >>> variables = {"params": {}, "scores": {"a": jnp.array([3.0])}}
    >>> grads = {"params": {}, "scores": {"a": jnp.array([1.0])}}
    >>> grads, _ = tx.update(grads, tx.init(variables), variables)
    >>> grads["scores"]["a"].tolist()
    [4.0]
    """

    def init_fn(params):
        del params
        return ScorePenaltyState(count=jnp.zeros((), jnp.int32))

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("add_score_penalty needs the variables: update(grads, state, params)")
        slope = jax.grad(penalty)(params["scores"])
        scale = lam(state.count + first_step)
        scores = jax.tree.map(
            lambda g, s: g + jnp.asarray(scale, g.dtype) * s, updates["scores"], slope
        )
        return {**updates, "scores": scores}, ScorePenaltyState(count=state.count + 1)

    return optax.GradientTransformation(init_fn, update_fn)


def clip_by_global_norm(max_norm: float, eps: float = 1e-6) -> optax.GradientTransformation:
    """Scales all gradients by min(1, max_norm / (norm + eps)), PyTorch's form of the clip.

    The norm is over everything that arrives, scores and penalty included; the state keeps it for
    the log. optax's own clip has no eps, which costs 1e-6 of agreement per clipped step.

    >>> import jax.numpy as jnp
    >>> tx = clip_by_global_norm(1.0, eps=0.0)
    >>> clipped, state = tx.update({"w": jnp.array([0.0, 4.0])}, tx.init({}))
    >>> clipped["w"].tolist(), float(state.norm)
    ([0.0, 1.0], 4.0)
    """

    def init_fn(params):
        del params
        return ClipState(norm=jnp.zeros((), jnp.result_type(float)))

    def update_fn(updates, state, params=None):
        del state, params
        norm = optax.tree.norm(updates).astype(jnp.result_type(float))
        factor = jnp.minimum(1.0, max_norm / (norm + eps))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), ClipState(norm)

    return optax.GradientTransformation(init_fn, update_fn)


def sparsity_schedule(
    threshold: Schedule,
    lam: Schedule = lambda step: jnp.zeros((), jnp.result_type(float)),
    *,
    first_step: int = 0,
) -> optax.GradientTransformation:
    """Carries step, threshold and λ in the optimiser state; leaves the updates alone.

    The state holds the values for the *next* forward pass, so a train step reads them (see
    :func:`pruning_state`) before it makes its masks, and resuming needs nothing else.

    Args:
      threshold: density or τ by step. lam: λ by step.
      first_step: the t of the first forward pass: 0 in the published GLUE script, 1 in SQuAD's.

    >>> tx = sparsity_schedule(lambda t: 1.0 - 0.1 * t)
    >>> _, state = tx.update({}, tx.init({}))
    >>> int(state.step), round(float(state.threshold), 2)
    (1, 0.9)
    """

    def at(step: jax.Array) -> SparsityState:
        dtype = jnp.result_type(float)
        return SparsityState(
            step=step,
            threshold=jnp.asarray(threshold(step), dtype),
            lam=jnp.asarray(lam(step), dtype),
        )

    def init_fn(params):
        del params
        return at(jnp.asarray(first_step, jnp.int32))

    def update_fn(updates, state, params=None):
        del params
        return updates, at(state.step + 1)

    return optax.GradientTransformation(init_fn, update_fn)


def freeze(frozen: Callable[[str], bool]) -> optax.GradientTransformation:
    """Zeroes the gradients of the parameters whose path ``frozen`` accepts.

    First in a chain it keeps them out of the clipping norm, and the compiler then drops the
    computation of their gradients.

    >>> import jax.numpy as jnp
    >>> tx = freeze(lambda path: "embeddings" in path)
    >>> grads = {"params": {"embeddings": jnp.ones(1), "head": jnp.ones(1)}, "scores": {}}
    >>> tx.update(grads, tx.init(grads))[0]["params"]["embeddings"].tolist()
    [0.0]
    """

    def update_fn(updates, state, params=None):
        del params
        held = jax.tree_util.tree_map_with_path(
            lambda path, g: jnp.zeros_like(g) if frozen(_path(path)) else g, updates["params"]
        )
        return {**updates, "params": held}, state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def hold_zeros(masks: Any) -> optax.GradientTransformation:
    """Zeroes the gradients of weights outside fixed masks, so that what starts at 0 stays there.

    First in a chain, before moments are formed; a decoupled weight decay leaves 0 at 0 too.

    Args:
      masks: nested dict of boolean arrays at the paths of some parameters, which they broadcast to.

    >>> import jax.numpy as jnp
    >>> tx = hold_zeros({"kernel": jnp.array([[True, False]])})
    >>> grads = {"params": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "scores": {}}
    >>> tx.update(grads, tx.init(grads))[0]["params"]["kernel"].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    fixed = flatten(masks)

    def update_fn(updates, state, params=None):
        del params
        flat = flatten(updates["params"])
        held = {path: jnp.where(mask, flat[path], 0) for path, mask in fixed.items()}
        return {**updates, "params": unflatten(flat | held)}, state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def labels(variables: Any, frozen: Callable[[str], bool]) -> Any:
    """The optimiser group of every leaf: frozen, no_decay (biases and norms), weights or scores.

    >>> labels({"params": {"a": {"kernel": 1, "bias": 2}}, "scores": {"a": {"kernel": 3}}},
    ...        lambda path: False)
    {'params': {'a': {'bias': 'no_decay', 'kernel': 'weights'}}, 'scores': {'a': {'kernel': 'scores'}}}
    """  # noqa: E501

    def label(path, leaf) -> str:
        del leaf
        name = _path(path)
        if frozen(name):
            return FROZEN
        return NO_DECAY if name.endswith(("/bias", "/scale")) else WEIGHTS

    return {
        "params": jax.tree_util.tree_map_with_path(label, variables["params"]),
        "scores": jax.tree.map(lambda _: SCORES, variables["scores"]),
    }


def _path(key_path) -> str:
    return "/".join(str(k.key) for k in key_path)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Hyper-parameters of :func:`make_optimizer`; the defaults are the published ones.

    Attributes:
      warmup_steps: linear warm-up from 0 of all learning rates, in steps.
      initial_warmup, final_warmup: flat ends of the sparsity ramp, in multiples of the warm-up.
      final_lambda: λ at the end of training; it scales the rule's penalty.
      first_step: t of the first forward pass in the sparsity schedule.
      frozen: regular expression for the ``/``-joined paths of parameters that stay as they are.
    """

    learning_rate: float = 3e-5
    score_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    adam_eps: float = 1e-8
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    initial_warmup: float = 1.0
    final_warmup: float = 2.0
    final_lambda: float = 0.0
    first_step: int = 0
    frozen: str = r".*/embeddings/.*"


def schedules(config: OptimizerConfig, rule: Rule, total_steps: int) -> tuple[Schedule, Schedule]:
    """Threshold and λ by step for a rule: the cubic ramp, and λ(t) = λ_final · x(t)/x_final."""
    threshold = cubic_schedule(
        rule.initial,
        rule.final,
        total_steps,
        config.warmup_steps,
        config.initial_warmup,
        config.final_warmup,
    )

    def lam(step: int | jax.Array) -> jax.Array:
        if not rule.has_penalty:
            return jnp.zeros((), jnp.result_type(float))
        return config.final_lambda * rule.penalty_scale(threshold(step))

    return threshold, lam


def make_optimizer(
    config: OptimizerConfig, rule: Rule | None, total_steps: int, structure: Structure = ELEMENT
) -> optax.GradientTransformation:
    """The whole chain, over ``{"params": ..., "scores": ...}``.

    freeze → score penalty → clip → Adam per group (weights, no-decay, scores) → sparsity schedule.
    One linear warm-up and decay multiplies every learning rate.

    Args:
      config: hyper-parameters. total_steps: T of every schedule.
      rule: the pruning rule, or None for plain fine-tuning (``scores`` is then {}).
      structure: that of the scores; it may weigh their penalties.

    Raises:
      ValueError: the warm-ups leave no room for the sparsity ramp.
    """
    pattern = re.compile(config.frozen)

    def frozen(path: str) -> bool:
        return pattern.fullmatch(path) is not None

    def adam(peak: float, decay: float) -> optax.GradientTransformation:
        rate = linear_warmup_decay(peak, total_steps, config.warmup_steps)
        return optax.adamw(rate, b1=0.9, b2=0.999, eps=config.adam_eps, weight_decay=decay)

    groups: dict[Hashable, optax.GradientTransformation] = {
        FROZEN: optax.set_to_zero(),
        NO_DECAY: adam(config.learning_rate, 0.0),
        WEIGHTS: adam(config.learning_rate, config.weight_decay),
        SCORES: adam(config.score_learning_rate, 0.0),
    }
    chain = [freeze(frozen)]
    if rule is not None:
        threshold, lam = schedules(config, rule, total_steps)
        if rule.has_penalty:
            penalty = functools.partial(structure.penalty, rule)
            chain.append(add_score_penalty(penalty, lam, first_step=config.first_step))
    chain += [
        clip_by_global_norm(config.max_grad_norm),
        optax.partition(groups, lambda variables: labels(variables, frozen)),
    ]
    if rule is not None:
        chain.append(sparsity_schedule(threshold, lam, first_step=config.first_step))
    return optax.chain(*chain)


def find_state(opt_state: Any, kind: type[State]) -> State | None:
    """The first state of class ``kind`` inside the state of any chain, or None without one.

    >>> tx = optax.chain(optax.sgd(0.1), sparsity_schedule(lambda t: 0.5))
    >>> float(find_state(tx.init({}), SparsityState).threshold)
    0.5
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, kind))
    return next((leaf for leaf in leaves if isinstance(leaf, kind)), None)


def pruning_state(opt_state: Any) -> SparsityState | None:
    """Step, threshold and λ of the next forward pass, or None if the chain has no schedule."""
    return find_state(opt_state, SparsityState)
