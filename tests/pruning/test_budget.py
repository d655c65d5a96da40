"""Budgets in weights against a NumPy sort, and structures cut by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mpjax.parallel.sharding import make_mesh
from mpjax.pruning import Block, Part, Pruning, Structure, linear_density, make_rule
from mpjax.pruning.granularities import Shared
from mpjax.pruning.topk.budget import budget_counts


def oracle(scores, covers, budget):
    """One global cut for the coarse scores; the finest take what is left, ties in order."""
    every = sorted(
        ((s, c, i) for i, (a, c) in enumerate(zip(scores, covers, strict=True)) for s in a.ravel()),
        key=lambda x: -x[0],
    )
    used, cut = 0, np.inf
    for score in sorted({s for s, _, _ in every}, reverse=True):
        weight = sum(c for s, c, _ in every if s == score)
        if used + weight > budget:
            break
        used, cut = used + weight, score
    finest = min(covers)
    counts = [
        int((a >= cut).sum()) if c != finest else 0 for a, c in zip(scores, covers, strict=True)
    ]
    left = budget - sum(n * c for n, c in zip(counts, covers, strict=True))
    fine = [(s, i) for s, c, i in every if c == finest]
    number = min(max((left + finest // 2) // finest, 0), len(fine))
    for _, i in sorted(fine, key=lambda x: (-x[0], x[1]))[:number]:
        counts[i] += 1
    return counts


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("covers", [(8, 2, 2), (32, 1, 4), (3, 3, 3)])
def test_counts_equal_a_sort(covers, tied):
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (16,), (5, 8)]
    draw = (lambda s: rng.integers(0, 4, s) * 1.0) if tied else (lambda s: rng.normal(size=s))
    scores = [draw(s).astype(np.float32) for s in shapes]
    total = sum(a.size * c for a, c in zip(scores, covers, strict=True))
    cut = jax.jit(lambda s, b: budget_counts(s, covers, b))
    for budget in [0, 1, total // 7, total // 3, total - 1, total]:
        found = [int(k) for k in cut(scores, budget)]
        assert found == oracle(scores, covers, budget), budget


def test_too_many_weights_are_refused():
    with pytest.raises(ValueError, match="3000000000 weights under one budget"):
        budget_counts([jnp.zeros(3)], [10**9], 5)


UNITS = Structure(
    (
        Part("attention.*", Block(4, 4)),
        Part("ffn.*", Shared("units", (("in/kernel", 1), ("out/kernel", 0)))),
    )
)


def structured(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"attention/kernel": (16, 16), "ffn/in/kernel": (16, 64), "ffn/out/kernel": (64, 16)}
    params: dict = {"attention": {}, "ffn": {"in": {}, "out": {}}}
    params["attention"]["kernel"] = jnp.asarray(rng.normal(size=shapes["attention/kernel"]))
    params["ffn"]["in"]["kernel"] = jnp.asarray(rng.normal(size=shapes["ffn/in/kernel"]))
    params["ffn"]["out"]["kernel"] = jnp.asarray(rng.normal(size=shapes["ffn/out/kernel"]))
    return params


RULES = [
    make_rule("movement", final=0.3, scope="global"),
    make_rule("magnitude", final=0.3, scope="global"),
    make_rule("soft_movement", density=0.3),
    make_rule("l0", final=0.3, scope="global", steered=True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
@pytest.mark.parametrize("density", [0.9, 0.3, 0.05])
def test_a_global_density_of_a_structure_counts_weights(rule, density):
    pruning, params = Pruning(rule, structure=UNITS), structured()
    scores = pruning.init_scores(params, jax.random.key(0), init="uniform", scale=1.0)
    pruned, _ = jax.jit(lambda d: pruning.prune(params, scores, d))(density)
    # Half a unit is 16 of 2304 weights.
    assert abs(linear_density(pruned, ".*kernel") - density) <= 16.5 / 2304


def test_a_local_density_counts_scores_of_each_array():
    pruning, params = Pruning(make_rule("movement", final=0.3), structure=UNITS), structured()
    scores = pruning.init_scores(params, jax.random.key(0), init="uniform", scale=1.0)
    _, masks = pruning.prune(params, scores, 0.3)
    assert int(masks["attention"]["kernel"].sum()) == int(0.3 * 16) * 16


def test_a_sharded_budget_gathers_nothing():
    mesh = make_mesh({"fsdp": 8})
    split = NamedSharding(mesh, PartitionSpec("fsdp"))
    scores = [jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=split)] * 2
    program = jax.jit(lambda a, b: budget_counts([a, b], [1, 4], 900)).lower(*scores).compile()
    text = program.as_text()
    assert text is not None and "all-gather" not in text and "all-reduce" in text
