"""Exact top-v of one matrix: by counting, by a full sort, and by ``lax.top_k``."""

from __future__ import annotations

import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.timing import row, seconds
from mpjax.pruning import top_k_masks


def run(shape: tuple[int, ...], density: float, rounds: int) -> dict[str, Any]:
    """Times the three in turn; prints the table and returns its numbers."""
    count = int(density * int(np.prod(shape)))
    x = jax.random.normal(jax.random.key(0), shape)

    def by_sort(x: jax.Array) -> jax.Array:
        return x >= jnp.sort(x.reshape(-1))[x.size - count]

    def by_top_k(x: jax.Array) -> jax.Array:
        return x >= jax.lax.top_k(x.reshape(-1), count)[0][-1]

    methods = {
        "counting (ours)": jax.jit(lambda x: top_k_masks([x], [count])[0]),
        "jnp.sort": jax.jit(by_sort),
        "lax.top_k": jax.jit(by_top_k),
    }
    masks = {name: np.asarray(method(x)) for name, method in methods.items()}
    for name, mask in masks.items():
        if not np.array_equal(mask, masks["counting (ours)"]):
            raise AssertionError(f"{name} chose other entries")
    times = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            times[name].append(seconds(lambda m=method: m(x)))
    medians = {name: statistics.median(t) for name, t in times.items()}
    print(f"top {count} of {shape} float32, {rounds} rounds; ratio = time / ours")
    for name, median in medians.items():
        print(row(name, median, median / medians["counting (ours)"]))
    return {"shape": shape, "count": count, "seconds": medians}
