"""Transformations over ``variables = {"params": ..., "scores": ...}``, each usable alone.

A pruned model trains these two Flax collections; other collections pass through. No transformation
needs another: each works in any optax chain.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from mpjax.pruning.pruning import Pruning
from mpjax.pruning.schedules import Schedule
from mpjax.pruning.trees import leaves_by_keys, map_named, replace

State = TypeVar("State")


class ScorePenaltyState(NamedTuple):
    """State of `add_score_penalty`."""

    count: jax.Array  # shape=(), dtype=int32: steps taken


class ClipState(NamedTuple):
    """State of `clip_grad_norm`: gradient norm of the last step, and whether it was finite."""

    norm: jax.Array  # shape=(), float: gradient norm of the last step, before clipping; else 0
    finite: jax.Array  # shape=(), bool: whether that norm was finite


class SparsityState(NamedTuple):
    """State of `sparsity_schedule`: step, threshold and λ of the next forward pass."""

    step: jax.Array  # shape=(), dtype=int32: t of the *next* forward pass
    threshold: jax.Array  # shape=(), float: density or τ at t
    lam: jax.Array  # shape=(), float: λ at t


def with_parts(variables: Any, **parts: Any) -> Any:
    """Mapping of the type of ``variables`` with some of its collections replaced."""
    changed = {**variables, **parts}
    return changed if isinstance(variables, dict) else type(variables)(changed)  # a FrozenDict


def add_score_penalty(
    penalty: Callable[[Any], jax.Array], lam: Schedule, *, first_step: int = 0
) -> optax.GradientTransformation:
    """Adds λ(t)·∂R/∂S to the gradient of the scores, as ``loss += λ(t)·R(S)`` would.

    Args:
      penalty: R, from a tree of scores to a scalar; for example ``Rule.penalty``.
      lam: λ as a function of the step.
      first_step: t of the first update.

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
        return with_parts(updates, scores=scores), ScorePenaltyState(count=state.count + 1)

    return optax.GradientTransformation(init_fn, update_fn)


def clip_grad_norm(max_norm: float, eps: float = 1e-6) -> optax.GradientTransformation:
    """Scales all gradients by min(1, max_norm / (norm + eps)), PyTorch's form of the clip.

    Where the norm is not finite, all become zero: see `skip_not_finite`.

    The norm is over all updates, gradients of scores and penalty included; the state keeps it for
    the log. `optax.clip_by_global_norm` has no eps, which costs 1e-6 of agreement per clipped step.

    >>> import jax.numpy as jnp
    >>> tx = clip_grad_norm(1.0, eps=0.0)
    >>> clipped, state = tx.update({"w": jnp.array([0.0, 4.0])}, tx.init({}))
    >>> clipped["w"].tolist(), float(state.norm)
    ([0.0, 1.0], 4.0)
    """

    def init_fn(params):
        del params
        return ClipState(jnp.zeros((), jnp.result_type(float)), jnp.ones((), bool))

    def update_fn(updates, state, params=None):
        del state, params
        norm = optax.tree.norm(updates).astype(jnp.result_type(float))
        factor = jnp.minimum(1.0, max_norm / (norm + eps))
        finite = jnp.isfinite(norm)

        def clip(g: jax.Array) -> jax.Array:
            return jnp.where(finite, g * factor.astype(g.dtype), jnp.zeros_like(g))

        return jax.tree.map(clip, updates), ClipState(jnp.where(finite, norm, 0), finite)

    return optax.GradientTransformation(init_fn, update_fn)


def per_weight(pruning: Pruning) -> optax.GradientTransformation:
    """Divides ∂L/∂S by the number of weights that a score covers, so that importances compare.

    A head's gradient is the sum over all of its weights; without the division an importance made
    of it ranks heads by their size.

    >>> import jax.numpy as jnp
    >>> from mpjax.pruning import Block, Part, Structure, make_rule
    >>> rows = Structure((Part("kernel", Block(1, None)),))
    >>> tx = per_weight(Pruning(make_rule("movement"), "kernel", rows))
    >>> variables = {"params": {"kernel": jnp.ones((2, 4))}, "scores": {"kernel": jnp.ones((2, 1))}}
    >>> tx.update(variables, tx.init(variables), variables)[0]["scores"]["kernel"].tolist()
    [[0.25], [0.25]]
    """

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("per_weight needs the variables: update(grads, state, params)")
        covers = pruning.covers(params["params"])

        def mean(g, count):  # a count may be beyond float16
            return (g.astype(jnp.promote_types(g.dtype, jnp.float32)) / count).astype(g.dtype)

        scores = jax.tree.map(mean, updates["scores"], covers)
        return with_parts(updates, scores=scores), state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def sparsity_schedule(
    threshold: Schedule,
    lam: Schedule = lambda step: jnp.zeros((), jnp.result_type(float)),
    *,
    first_step: int = 0,
) -> optax.GradientTransformation:
    """Carries step, threshold and λ in the optimiser state; the updates pass through.

    The state holds the values for the *next* forward pass, so a train step reads them (see
    :func:`pruning_state`) before it makes its masks, and resuming needs nothing else.

    Args:
      threshold: density or τ by step.
      lam: λ by step.
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


def freeze_params(frozen: Callable[[str], bool]) -> optax.GradientTransformation:
    """Zeroes the gradients of parameters by path, and of collections other than the two.

    First in a chain it keeps them out of the clipping norm, and XLA drops the computation of their
    gradients: with frozen embeddings the scatter into the 30522 x 768 table. `optax.freeze` takes
    a mask instead of paths.

    Args:
      frozen: predicate on the ``/``-joined path of a parameter.

    >>> import jax.numpy as jnp
    >>> tx = freeze_params(lambda path: "embeddings" in path)
    >>> grads = {"params": {"embeddings": jnp.ones(1), "head": jnp.ones(1)}, "scores": {}}
    >>> tx.update(grads, tx.init(grads))[0]["params"]["embeddings"].tolist()
    [0.0]
    """

    def update_fn(updates, state, params=None):
        del params
        held = map_named(
            lambda path, g: jnp.zeros_like(g) if frozen(path) else g, updates["params"]
        )
        zeros = {
            name: jax.tree.map(jnp.zeros_like, tree)
            for name, tree in updates.items()
            if name not in ("params", "scores")
        }
        return with_parts(updates, **zeros, params=held), state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def hold_zeros(masks: Any) -> optax.GradientTransformation:
    """Zeroes the gradients of weights outside fixed masks, so that zeros stay zero.

    Put it first in a chain, before moments are formed. A decoupled weight decay keeps zeros, too.

    Args:
      masks: tree of boolean arrays at the paths of some parameters, broadcast to them.

    >>> import jax.numpy as jnp
    >>> tx = hold_zeros({"kernel": jnp.array([[True, False]])})
    >>> grads = {"params": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "scores": {}}
    >>> tx.update(grads, tx.init(grads))[0]["params"]["kernel"].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    fixed = leaves_by_keys(masks)

    def update_fn(updates, state, params=None):
        del params
        own = leaves_by_keys(updates["params"])
        held = {keys: jnp.where(mask, own[keys], 0) for keys, mask in fixed.items()}
        return with_parts(updates, params=replace(updates["params"], held)), state

    return optax.GradientTransformation(optax.init_empty_state, update_fn)


def find_state(opt_state: Any, kind: type[State]) -> State | None:
    """First state of class ``kind`` inside the state of any chain; None without one.

    >>> tx = optax.chain(optax.sgd(0.1), sparsity_schedule(lambda t: 0.5))
    >>> float(find_state(tx.init({}), SparsityState).threshold)
    0.5
    """
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, kind))
    return next((leaf for leaf in leaves if isinstance(leaf, kind)), None)


def pruning_state(opt_state: Any) -> SparsityState | None:
    """Step, threshold and λ of the next forward pass; None for a chain without a schedule."""
    return find_state(opt_state, SparsityState)
