"""Density steering: soft movement and L0 at a density asked for, by feedback on λ.

The published rules keep the scores above a threshold, and λ decides how many these are. Here a
funnel of two densities, which closes at the one asked for, bounds that number at every step: inside
it the rule has its way, at its walls the cut moves. So the final density is exact whatever λ does.
λ follows by feedback, proportional and summed, so that the rule's own density stays inside. It is
counted in units of ‖∂L/∂S‖ / ‖∂R/∂S‖, so that one start suits any task, model and length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mpjax.optim.transforms import SparsityState, with_parts
from mpjax.pruning import Pruning
from mpjax.pruning.schedules import Schedule

_LIMIT = 2.0  # of |ln λ|: far beyond, the penalty drowns the task and all scores fall alike
_MEMORY = 0.98  # of the average of ‖∂L/∂S‖ / ‖∂R/∂S‖


class Funnel(NamedTuple):
    """Schedules of a steered run.

    Attributes:
      lower, upper: densities by step; equal once the ramp has ended.
      threshold: of the rule itself, by step (τ).
      scale: factor of λ by step, from 0 or more to 1.
    """

    lower: Schedule
    upper: Schedule
    threshold: Schedule
    scale: Schedule


class SteeringState(NamedTuple):
    """State of `steer_density`."""

    schedule: SparsityState  # of the next forward pass; its threshold is the density
    log_lam: jax.Array  # shape=(), float: log λ in units of `unit`, the summed feedback
    unit: jax.Array  # shape=(), float: running average of ‖∂L/∂S‖ / ‖∂R/∂S‖
    inner: Any


def steer_density(
    inner: optax.GradientTransformation,
    pruning: Pruning,
    funnel: Funnel,
    total_steps: int,
    *,
    first_step: int = 0,
    gain: float = 2.5,
    proportional: float = 1.0,
) -> optax.GradientTransformation:
    """Wraps an optimiser: adds λ·∂R/∂S, and sets density and λ of the next forward pass.

    Nothing may change the updates after it in a chain: it measures the updated scores.

    With D the density of the scores above the rule's threshold, and l, u the walls of the funnel:
    density = min(max(D, l), u), e = clip(ln(D / density), −1, 1), which is 0 inside, and
    ln λ = Σ gain/T·e + proportional·e, in units of the average ‖∂L/∂S‖ / ‖∂R/∂S‖. λ is 0 in the
    first forward pass.

    Args:
      inner: optimiser over ``{"params": ..., "scores": ...}``.
      pruning: rule that can be steered (`Rule.is_steered`), kernels and structure.
      funnel: densities and threshold by step.
      total_steps: T, the steps of the run.
      first_step: t of the first forward pass.
      gain: sum of the feedback over a run whose e is 1 throughout.
      proportional: immediate feedback. Scores add up what λ presses, so that a sum alone swings.
    """

    def at(step: Any, density: Any, lam: Any, log_lam: Any, unit: Any, inner: Any):
        dtype = jnp.result_type(float)
        schedule = SparsityState(step, jnp.asarray(density, dtype), jnp.asarray(lam, dtype))
        return SteeringState(schedule, jnp.asarray(log_lam, dtype), jnp.asarray(unit, dtype), inner)

    def init_fn(params):
        step = jnp.asarray(first_step, jnp.int32)
        return at(step, funnel.upper(step), 0.0, 0.0, 0.0, inner.init(params))

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("steer_density needs the variables: update(grads, state, params)")
        slope = jax.grad(pruning.penalty)(params["scores"])
        unit = _average_ratio(state, updates["scores"], slope, first_step)
        lam = state.schedule.lam
        scores = jax.tree.map(lambda g, r: g + lam.astype(g.dtype) * r, updates["scores"], slope)
        updates, inner_state = inner.update(with_parts(updates, scores=scores), state.inner, params)
        new: Any = optax.apply_updates(params, updates)
        step = state.schedule.step + 1
        lower, upper = funnel.lower(step), funnel.upper(step)
        own = pruning.density_above(new["params"], new["scores"], funnel.threshold(step))
        density = jnp.minimum(jnp.maximum(own.astype(lower.dtype), lower), upper)
        error = jnp.clip(jnp.log(jnp.maximum(own, 1e-9) / density), -1, 1)
        log_lam = jnp.clip(state.log_lam + gain / total_steps * error, -_LIMIT, _LIMIT)
        lam = jnp.exp(log_lam + proportional * error) * unit * funnel.scale(step)
        return updates, at(step, density, lam, log_lam, unit, inner_state)

    return optax.GradientTransformation(init_fn, update_fn)


def _average_ratio(state: SteeringState, gradient: Any, slope: Any, first_step: int) -> jax.Array:
    """Running average of ‖∂L/∂S‖ / ‖∂R/∂S‖, the plain mean of the first 50 steps."""
    taken = (state.schedule.step - first_step).astype(state.unit.dtype)
    now = optax.tree.norm(gradient) / jnp.maximum(optax.tree.norm(slope), 1e-30)
    now = jnp.where(jnp.isfinite(now), now, state.unit)  # of an update that will be skipped
    beta = jnp.minimum(_MEMORY, taken / (taken + 1))
    return beta * state.unit + (1 - beta) * now.astype(state.unit.dtype)
