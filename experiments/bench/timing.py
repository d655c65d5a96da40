"""Clocks and table lines of the benchmarks."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call, its result ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def product_rate(rows: int, inputs: int, outputs: int, dtype: str = "float32") -> float:
    """FLOP/s of a product of rows × inputs by inputs × outputs, the best of five."""
    left, right = jnp.ones((rows, inputs), dtype), jnp.ones((inputs, outputs), dtype)
    product = jax.jit(jnp.matmul)
    best = min(seconds(lambda: product(left, right)) for _ in range(6))
    return 2.0 * rows * inputs * outputs / best


def memory_rate(entries: int = 1 << 26) -> float:
    """Bytes/s of a float32 sum a + b → a, two arrays read and one written, the best of five."""
    add = jax.jit(jnp.add, donate_argnums=0)
    total, other, best = jnp.zeros(entries), jnp.ones(entries), float("inf")
    for _ in range(6):
        start = time.perf_counter()
        total = jax.block_until_ready(add(total, other))
        best = min(best, time.perf_counter() - start)
    return 3.0 * 4.0 * entries / best


def page_faults() -> int:
    """Pages that the process has asked the system for so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def row(name: str, median: float, ratio: float | None, note: str = "") -> str:
    """One line of a table: median milliseconds and a ratio."""
    return f"{name:<24}{1e3 * median:>12.1f} ms{'' if ratio is None else f'{ratio:>10.3f}'}  {note}"
