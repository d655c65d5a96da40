"""Density divided among matrices of one type: counts against NumPy, and masks of a rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.pruning import TracedDensity, flatten, make_rule, unflatten
from mpjax.pruning.allocation import allocated_counts


def oracle(shares, sizes, total):
    """Counts by bisection of c in Σ min(1, c·m)·n = total, rounded and settled one by one."""
    low, high = 0.0, sum(sizes) / min(shares)
    for _ in range(200):
        c = (low + high) / 2
        low, high = (c, high) if sum(np.minimum(1, c * shares) * sizes) < total else (low, c)
    counts = np.rint(np.minimum(1, high * shares) * sizes).astype(int)
    order = np.argsort(-shares, kind="stable")
    while counts.sum() != total:
        step = np.sign(total - counts.sum())
        first = next(i for i in order if 0 <= counts[i] + step <= sizes[i])
        counts[first] += step
    return np.maximum(counts, 1)


@pytest.mark.parametrize("density", [0.03, 0.29, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_counts_equal_the_oracle(density, spread, x64):
    rng = np.random.default_rng(0)
    for matrices in (1, 2, 12):
        sizes = rng.integers(50, 3000, matrices)
        shares = 1 / (1 + np.exp(-spread * rng.normal(size=matrices)))
        total = sum(int(density * n) for n in sizes)
        found = allocated_counts(jnp.asarray(shares), list(sizes), total)
        np.testing.assert_array_equal(found, oracle(shares, sizes, total))


@pytest.mark.parametrize("density", [0.03, 0.1, 0.77, 1.0])
def test_large_counts_add_up_exactly_in_float32(density):
    rng, sizes = np.random.default_rng(1), [768 * 3072] * 12  # 28 million, beyond 2^24
    for spread in (0.0, 0.01, 2.0):
        shares = jnp.asarray(1 / (1 + np.exp(-spread * rng.normal(size=12))), jnp.float32)
        counts = np.asarray(jax.jit(allocated_counts, static_argnums=1)(
            shares, tuple(sizes), 12 * int(density * sizes[0])
        ))  # fmt: skip
        assert counts.sum() == 12 * int(density * sizes[0])
        assert counts.min() >= 1 and counts.max() <= sizes[0]
        if spread == 0:
            assert (counts == int(density * sizes[0])).all()  # as without allocation


def test_no_matrix_is_emptied():
    counts = allocated_counts(jnp.array([0.9, 1e-9]), [100, 100], 20)
    assert counts.tolist() == [20, 1]


@pytest.mark.parametrize("traced", [False, True])
def test_masks_keep_the_largest_scores_in_numbers_by_type(traced):
    rng = np.random.default_rng(2)
    flat = {
        f"encoder/layer_{i}/{name}/kernel": rng.normal(i - 1, 2, size=shape).astype(np.float32)
        for i in range(3)
        for name, shape in {"ffn/in": (20, 30), "query": (20, 20)}.items()
    }
    final = 0.29
    density = jnp.float32(final)
    if traced:
        counts = {size: jnp.int32(int(final * size)) for size in (400, 600)}
        density = TracedDensity(density, density, counts)
    rule = make_rule("movement", scope="type", final=final)
    scores = unflatten(flat)
    masks = flatten(rule.masks(scores, scores, density))
    for name in ("ffn/in", "query"):
        paths = [path for path in flat if f"/{name}/" in path]
        sizes = np.array([flat[path].size for path in paths])
        shares = np.array([np.mean(1 / (1 + np.exp(-flat[path].astype(float)))) for path in paths])
        total = sum(int(final * size) for size in sizes)
        expected = oracle(shares, sizes, total)
        assert expected.sum() == total and len(set(expected)) == 3
        for path, count in zip(paths, expected, strict=True):
            cut = np.sort(flat[path].ravel())[-count]
            np.testing.assert_array_equal(masks[path], flat[path] >= cut)
