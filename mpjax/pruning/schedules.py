# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Schedules of the threshold and of the learning rate, as functions of the step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Schedule = Callable[[Any], Float[Array, ""]]  # from a step, an int or a traced integer


def _as_float(step: int | jax.Array) -> jax.Array:
    # An int32 step times a Python float is float32 even under x64, which costs 1e-8 of agreement.
    return jnp.asarray(step, dtype=jnp.result_type(float))


def _ramp(
    total_steps: int, warmup_steps: int, initial_warmup: float, final_warmup: float
) -> tuple[float, float, float]:
    """Start, end and length of a ramp in steps; errors as in :func:`cubic_schedule`."""
    flat = (initial_warmup + final_warmup) * warmup_steps
    if min(warmup_steps, initial_warmup, final_warmup) < 0:
        raise ValueError("warmup_steps, initial_warmup and final_warmup must not be negative")
    if flat >= total_steps:
        raise ValueError(
            f"(initial_warmup + final_warmup) * warmup_steps = ({initial_warmup} + {final_warmup})"
            f" * {warmup_steps} = {flat} leaves no room for the ramp in {total_steps} steps:"
            " lower one of the three or train longer"
        )
    start, end = initial_warmup * warmup_steps, total_steps - final_warmup * warmup_steps
    return start, end, total_steps - flat


def cubic_schedule(
    initial: float,
    final: float,
    total_steps: int,
    warmup_steps: int,
    initial_warmup: float = 1,
    final_warmup: float = 2,
    first: float | None = None,
) -> Schedule:
    """Cubic ramp of Zhu & Gupta (2017, eq. 1), flat at both ends (Sanh et al. 2020, eq. 5).

    With w = ``warmup_steps``, T = ``total_steps``, i and f the two multiples of w:
    x(t) = initial for t ≤ i·w; x(t) = final for t > T − f·w; between them
    x(t) = final + (initial − final)·(1 − (t − i·w)/(T − (i + f)·w))³.

    Args:
      initial: value before the ramp, a density or τ.
      final: value after it.
      total_steps: T, the steps of the run.
      warmup_steps: w, the warm-up of the learning rate, in steps.
      initial_warmup, final_warmup: i and f, in multiples of w.
      first: x(i·w), to which the ramp then jumps from ``initial``; ``initial`` unless given.

    Raises:
      ValueError: (i + f)·w ≥ T, which leaves no step for the ramp.

    >>> x = cubic_schedule(1.0, 0.1, total_steps=100, warmup_steps=10)
    >>> [round(float(x(t)), 4) for t in (0, 10, 45, 81, 100)]
    [1.0, 1.0, 0.2125, 0.1, 0.1]
    """
    start, end, ramp = _ramp(total_steps, warmup_steps, initial_warmup, final_warmup)
    top = initial if first is None else first

    def schedule(step: int | jax.Array) -> jax.Array:
        t = _as_float(step)
        rest = 1 - (t - start) / ramp
        x = final + (top - final) * (rest * rest * rest)
        before = t <= start if first is None else t < start
        return jnp.where(before, initial, jnp.where(t > end, final, x)).astype(t.dtype)

    return schedule


def linear_schedule(
    initial: float,
    final: float,
    total_steps: int,
    warmup_steps: int,
    initial_warmup: float = 1,
    final_warmup: float = 2,
) -> Schedule:
    """Linear ramp with flat ends; arguments and errors as in :func:`cubic_schedule`.

    >>> x = linear_schedule(1.0, 0.2, total_steps=100, warmup_steps=10)
    >>> [round(float(x(t)), 2) for t in (0, 10, 45, 80, 100)]
    [1.0, 1.0, 0.6, 0.2, 0.2]
    """
    start, _, ramp = _ramp(total_steps, warmup_steps, initial_warmup, final_warmup)

    def schedule(step: int | jax.Array) -> jax.Array:
        progress = jnp.clip((_as_float(step) - start) / ramp, 0, 1)
        x = final + (initial - final) * (1 - progress)
        return jnp.where(progress >= 1, final, x).astype(progress.dtype)

    return schedule


def cut_is_due(
    every: int, total_steps: int, first_step: int = 0, start: int | None = None
) -> Callable[[jax.Array], jax.Array]:
    """Predicate on a step: whether its masks are made anew, where :func:`held` takes a sample.

    Masks of the end, after ``total_steps`` updates, are those that were trained.

    >>> [[t for t in range(9) if due(jnp.int32(t))] for due in (cut_is_due(4, 8), cut_is_due(4, 8, 0, 3))]
    [[0, 4], [0, 3, 7]]
    """  # noqa: E501
    origin = first_step if start is None else start

    def due(step: jax.Array) -> jax.Array:
        on_time = (step >= origin) & ((step - origin) % every == 0)
        return (on_time | (step == first_step)) & (step - first_step < total_steps)

    return due


def last_cut(every: int, total_steps: int, first_step: int = 0, start: int | None = None) -> int:
    """Last step at which masks are made anew; arguments as in :func:`cut_is_due`.

    >>> last_cut(4, 8), last_cut(4, 8, 0, 3), last_cut(4, 8, 0, 30)
    (4, 7, 0)
    """
    origin, last = first_step if start is None else start, first_step + total_steps - 1
    return first_step if origin > last else max(first_step, last - (last - origin) % every)


def held(
    schedule: Schedule,
    every: int,
    total_steps: int,
    first_step: int = 0,
    start: int | None = None,
) -> Schedule:
    """Schedule sampled at every ``every``-th step and constant between.

    Args:
      schedule: schedule to hold.
      every: steps between two changes.
      total_steps: T; from there on the schedule is not held, so that it ends at its last value.
      first_step: t of the first step.
      start: t of the first sample after that of the first step; None = ``first_step``.

    >>> x = held(lambda t: t, every=4, total_steps=10)
    >>> [int(x(t)) for t in (0, 3, 4, 9, 10)]
    [0, 0, 4, 8, 10]
    >>> x = held(lambda t: t, every=4, total_steps=10, start=3)
    >>> [int(x(t)) for t in (0, 2, 3, 6, 7, 9, 10)]
    [0, 0, 3, 3, 7, 7, 10]
    """
    origin = first_step if start is None else start

    def holding(step: int | jax.Array) -> jax.Array:
        t = jnp.asarray(step, jnp.int32)
        last = jnp.where(t < origin, first_step, origin + (t - origin) // every * every)
        return schedule(jnp.where(t - first_step >= total_steps, t, last))

    return holding


def linear_warmup_decay(peak: float, total_steps: int, warmup_steps: int) -> Schedule:
    """Linear from 0 to ``peak`` over ``warmup_steps``, then linear to 0 at ``total_steps``.

    With a warm-up the rate of the first step is 0, as in the published runs.

    >>> rate = linear_warmup_decay(1.0, total_steps=10, warmup_steps=2)
    >>> [float(rate(t)) for t in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def schedule(step: int | jax.Array) -> jax.Array:
        t = _as_float(step)
        up = t / max(1, warmup_steps)
        down = jnp.maximum(0.0, (total_steps - t) / max(1, total_steps - warmup_steps))
        return peak * jnp.where(t < warmup_steps, up, down)

    return schedule


def linear_cycles(
    peak: float,
    floor: float,
    total_steps: int,
    warmup_steps: int,
    cycle: int | None = None,
    start: int = 0,
) -> Schedule:
    """Linear from ``peak`` to ``floor``, again in every cycle, after a linear warm-up from 0.

    With w = ``warmup_steps``, T = ``total_steps``, s = ``start`` and c = ``cycle``, the stretches
    are [0, s) and n = max(1, ⌊(T − s)/c + ½⌋) cycles from s + k·c to s + (k + 1)·c, the last of
    which ends at T: a rest shorter than half a cycle would be too short to learn in.
    x(t) = peak·t/w for t < w; on the stretch [a, b), with a' = max(a, w),
    x(t) = floor + (peak − floor)·(b − t)/(b − a').

    Args:
      peak: value at the start of a stretch.
      floor: value that it falls to.
      total_steps: T, the steps of the run.
      warmup_steps: w, in steps.
      cycle: c, in steps; None = one stretch [0, T).
      start: s, the step of the first cycle.

    >>> rate = linear_cycles(1.0, 0.2, total_steps=10, warmup_steps=0, cycle=4, start=2)
    >>> [round(float(rate(t)), 1) for t in range(11)]
    [1.0, 0.6, 1.0, 0.8, 0.6, 0.4, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    start, length = (0, total_steps) if cycle is None else (start, cycle)
    if length < 1:
        raise ValueError(f"a cycle has {length} steps; use 1 or more")
    last = max(1, math.floor((total_steps - start) / length + 0.5)) - 1

    def schedule(step: int | jax.Array) -> jax.Array:
        t = _as_float(step)
        # −1 is the stretch before the first cycle.
        k = jnp.clip((jnp.asarray(step, jnp.int32) - start) // length, -1, last)
        begin = jnp.where(k < 0, 0, start + k * length)
        end = jnp.where(k == last, total_steps, start + (k + 1) * length)
        begin, end = (_as_float(x) for x in (jnp.maximum(begin, warmup_steps), end))
        left = jnp.clip((end - t) / jnp.maximum(1, end - begin), 0, 1)
        up = peak * (t / max(1, warmup_steps))
        return jnp.where(t < warmup_steps, up, floor + (peak - floor) * left)

    return schedule
