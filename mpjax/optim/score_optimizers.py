"""Score optimisers: how ∂L/∂S = ∂L/∂(W∘M) ∘ W becomes the scores that a top-v cut ranks.

Each is a transformation of a tree of scores, for the ``scores`` group of an optax chain. Adam and
`optax.sgd` descend. `sensitivity` and `platon` do not: they set the scores to a running importance,
which has no sign and no learning rate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

SCORE_OPTIMIZERS = ("adam", "sgd", "sensitivity", "platon")
IMPORTANCES = ("sensitivity", "platon")  # set scores instead of descending


class SensitivityState(NamedTuple):
    mean: Any  # shapes of the scores: moving average of |∂L/∂S|


class PlatonState(NamedTuple):
    mean: Any  # shapes of the scores: Ī, moving average of I = |∂L/∂S|
    uncertainty: Any  # shapes of the scores: U, moving average of |I − Ī|


def sensitivity(beta: float = 0.85) -> optax.GradientTransformation:
    """Sets the scores to Ī ← β·Ī + (1 − β)·|∂L/∂S|, where |∂L/∂S| = |w · ∂L/∂w|.

    Ī is kept in float32 where the scores are of half precision, which would round its steps away.

    >>> import jax.numpy as jnp
    >>> tx, scores = sensitivity(0.75), {"a": jnp.array([5.0])}
    >>> updates, _ = tx.update({"a": jnp.array([-4.0])}, tx.init(scores), scores)
    >>> (scores["a"] + updates["a"]).tolist()
    [1.0]
    """

    def init_fn(params):
        return SensitivityState(mean=_zeros(params))

    def update_fn(updates, state, params=None):
        mean = _average(beta, state.mean, jax.tree.map(jnp.abs, updates))
        return _updates_to(mean, params, "sensitivity"), SensitivityState(mean)

    return optax.GradientTransformation(init_fn, update_fn)


def platon(beta1: float = 0.85, beta2: float = 0.95) -> optax.GradientTransformation:
    """Sets the scores to Ī·U: sensitivity times its uncertainty (Zhang et al. 2022, PLATON).

    With I = |∂L/∂S|: Ī ← β₁·Ī + (1 − β₁)·I, then U ← β₂·U + (1 − β₂)·|I − Ī|. Both start at 0
    without bias correction, as in the published code, and are float32 beside half precision.

    >>> import jax.numpy as jnp
    >>> tx, scores = platon(0.5, 0.5), {"a": jnp.array([0.0])}
    >>> updates, _ = tx.update({"a": jnp.array([4.0])}, tx.init(scores), scores)
    >>> updates["a"].tolist()  # Ī = 2, U = 1
    [2.0]
    """

    def init_fn(params):
        return PlatonState(mean=_zeros(params), uncertainty=_zeros(params))  # two to donate

    def update_fn(updates, state, params=None):
        importance = jax.tree.map(jnp.abs, updates)
        mean = _average(beta1, state.mean, importance)
        spread = jax.tree.map(lambda i, m: jnp.abs(i.astype(m.dtype) - m), importance, mean)
        uncertainty = _average(beta2, state.uncertainty, spread)
        scores = jax.tree.map(jnp.multiply, mean, uncertainty)
        return _updates_to(scores, params, "platon"), PlatonState(mean, uncertainty)

    return optax.GradientTransformation(init_fn, update_fn)


def _zeros(scores: Any) -> Any:
    """Zeros of the shapes of the scores, in float32 or wider."""
    return jax.tree.map(lambda s: jnp.zeros_like(s, dtype=_wide(s)), scores)


def _wide(array: Any) -> Any:
    own = jax.dtypes.canonicalize_dtype(array.dtype)
    return jnp.float32 if jnp.finfo(own).bits < 32 else own


def _average(beta: float, old: Any, new: Any) -> Any:
    return jax.tree.map(lambda m, x: beta * m + (1 - beta) * x.astype(m.dtype), old, new)


def _updates_to(values: Any, params: Any, name: str) -> Any:
    """Updates that ``optax.apply_updates`` turns into ``values``, to rounding of the difference."""
    if params is None:
        raise ValueError(f"{name} needs the scores: update(grads, state, scores)")
    return jax.tree.map(lambda v, p: (v - p.astype(v.dtype)).astype(p.dtype), values, params)
