"""Structures: scores of blocks, rows, heads and units, every rule on each, against NumPy."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from test_budget import oracle as budget_oracle
from test_rules import every_rule, expected_mask, id_of

from mpjax.errors import InputError
from mpjax.linen import Pruned
from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.optim.transforms import per_weight
from mpjax.parallel.sharding import make_mesh
from mpjax.pruning import (
    ELEMENT,
    Block,
    Element,
    NofM,
    Part,
    Pruning,
    Shared,
    Structure,
    flatten,
    make_rule,
    mask_density,
    straight_through,
    unflatten,
)
from mpjax.training.state import create_state
from mpjax.training.step import finalize

SHAPES = {
    "l0/attention/query/kernel": (16, 24),
    "l0/attention/output/kernel": (24, 16),
    "l0/ffn/in/kernel": (16, 20),
    "l0/ffn/out/kernel": (20, 16),
}
ATTENTION, FFN = "l0/attention/.*", "l0/ffn/.*"
HEADS = Shared("heads", (("query/kernel", 1), ("output/kernel", 0)), width=6)
UNITS = Shared("units", (("in/kernel", 1), ("out/kernel", 0)))
STRUCTURES = {
    "element": ELEMENT,
    "block": Structure((Part(".*", Block(4, 2)),)),
    "rows": Structure((Part(".*", Block(1, None)),)),
    "columns": Structure((Part(".*", Block(None, 1)),)),
    "hybrid": Structure((Part(ATTENTION, Block(4, 8), 0.25), Part(FFN, UNITS, 3.0))),
    "heads": Structure((Part(ATTENTION, HEADS), Part(FFN, UNITS))),
    "one part": Structure((Part(FFN, UNITS),)),
}
RULES = every_rule()
every_pair = pytest.mark.parametrize(
    ("rule", "name"),
    [(r, n) for r in RULES for n in STRUCTURES if n != "element"],
    ids=lambda x: id_of(x) if dataclasses.is_dataclass(x) else x,
)


def spread(name: str, path: str, score_of: dict[str, np.ndarray]) -> np.ndarray:
    """NumPy oracle of `Layout.expand`: scores over the kernel at a path."""
    rows, columns = SHAPES[path]
    attention = "attention" in path
    first = path.endswith(("in/kernel", "query/kernel"))  # kernel whose columns are shared
    if name in ("hybrid", "heads", "one part") and not attention:
        units = score_of["l0/ffn/units"]
        return np.tile(units, (rows, 1)) if first else np.tile(units[:, None], (1, columns))
    if name == "heads":
        features = np.repeat(score_of["l0/attention/heads"], 6)
        return np.tile(features, (rows, 1)) if first else np.tile(features[:, None], (1, columns))
    own = score_of[path]
    if name in ("element", "one part"):
        return own
    block = {"block": (4, 2), "hybrid": (4, 8), "rows": (1, columns), "columns": (rows, 1)}[name]
    return np.kron(own, np.ones(block))


def make_trees(name: str, rule, seed: int = 0):
    rng = np.random.default_rng(seed)
    kernels = unflatten({p: jnp.asarray(rng.normal(size=s)) for p, s in SHAPES.items()})
    like = like_scores(name, kernels) if rule.has_scores else {}
    scores = jax.tree.map(lambda s: jnp.asarray(2 * rng.normal(size=s.shape), s.dtype), like)
    return kernels, scores, rule.sample_noise(jax.random.key(seed), scores)


def like_scores(name: str, kernels):
    layout = Pruning(make_rule("movement"), ".*", STRUCTURES[name]).layout(kernels)
    return layout.scores(layout.like_scores())


def numbers(tree) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf, np.float64) for path, leaf in flatten(tree).items()}


def expected_masks(rule, name, kernels, scores, noise) -> dict[str, np.ndarray]:
    """NumPy oracle of `Pruning._masks`, in the shapes of the scores."""
    trees = [numbers(tree or {}) for tree in (kernels, scores, noise)]
    if not rule.has_scores:  # mean |W| per score, one score at a time
        like = {p: np.zeros(s.shape) for p, s in flatten(like_scores(name, kernels)).items()}
        for path, zeros in like.items():
            for i in np.ndindex(*zeros.shape):
                one = {q: np.zeros(z.shape) for q, z in like.items()}
                one[path][i] = 1
                covered = {q: spread(name, q, one) for q in SHAPES}
                total = sum(np.sum(np.abs(trees[0][q]) * c) for q, c in covered.items())
                zeros[i] = total / sum(c.sum() for c in covered.values())
        trees[0] = like
    nested = [{path: {"kernel": leaf} for path, leaf in tree.items()} for tree in trees]
    ranked = trees[1] if rule.has_scores else trees[0]
    covers = weights_covered(name, ranked)
    if rule.scope != "global" or len(set(covers)) == 1:
        return expected_mask(rule, nested[0], nested[1], rule.final, nested[2] if noise else None)
    kept = within_budget(ranked, covers, rule.final)
    if rule.name != "l0":
        return kept
    every = dataclasses.replace(rule, final=1.0)  # gates without a cut
    gates = expected_mask(every, nested[0], nested[1], 1.0, nested[2] if noise else None)
    return {path: gate * kept[path] for path, gate in gates.items()}


def within_budget(ranked, covers, density) -> dict[str, np.ndarray]:
    """Largest scores of all arrays that cover a share of the weights."""
    arrays = list(ranked.values())
    total = sum(a.size * c for a, c in zip(arrays, covers, strict=True))
    counts = budget_oracle(arrays, covers, int(density * total))
    kept = {}
    for (path, a), count in zip(ranked.items(), counts, strict=True):
        kept[path] = np.zeros(a.size, bool)
        kept[path][np.argsort(-a.ravel(), kind="stable")[:count]] = True
        kept[path] = kept[path].reshape(a.shape)
    return kept


def weights_covered(name, arrays) -> list[int]:
    """Weights under one score of each array."""
    found = []
    for path in arrays:
        one = {q: np.zeros(a.shape) for q, a in arrays.items()}
        one[path].flat[0] = 1
        found.append(int(sum(spread(name, q, one).sum() for q in SHAPES)))
    return found


def masks_of(pruning, kernels, scores, threshold, noise=None):
    """Masks in the shapes and at the places of the scores."""
    layout = pruning.layout(kernels)
    draws = None if noise is None else layout.read(noise)
    return layout.scores(pruning._masks(layout, layout.read(scores), threshold, draws))


@pytest.mark.slow
@every_pair
def test_masks_gradients_and_density_equal_numpy(rule, name, x64):
    pruning = Pruning(rule, ".*", STRUCTURES[name])
    kernels, scores, noise = make_trees(name, rule)
    rng = np.random.default_rng(5)
    upstream = {p: rng.normal(size=s) for p, s in SHAPES.items()}

    def loss(kernels, scores):
        pruned, masks = pruning.prune(kernels, scores, jnp.asarray(rule.final), noise)
        total = sum(jnp.sum(w * upstream[p]) for p, w in flatten(pruned).items())
        return total, (pruned, masks)

    grad = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (d_kernels, d_scores), (pruned, masks) = grad(kernels, scores)
    expected = expected_masks(rule, name, kernels, scores, noise)
    weights = numbers(kernels)
    small = masks_of(pruning, kernels, scores, jnp.asarray(rule.final), noise)
    assert small.keys() == kernels.keys() and flatten(small).keys() == expected.keys()
    for path, mask in numbers(small).items():
        np.testing.assert_allclose(mask, expected[path], rtol=0, atol=1e-14)
    assert flatten(masks).keys() == SHAPES.keys()
    wide = {path: spread(name, path, expected) for path in SHAPES}
    for path in SHAPES:
        np.testing.assert_allclose(flatten(masks)[path], wide[path], rtol=0, atol=1e-14)
        np.testing.assert_allclose(flatten(pruned)[path], weights[path] * wide[path], atol=1e-14)
        np.testing.assert_allclose(
            flatten(d_kernels)[path], upstream[path] * wide[path], atol=1e-12
        )
    kept = sum(np.count_nonzero(w) for w in wide.values())
    density = mask_density(masks)
    assert float(density) == pytest.approx(kept / sum(w.size for w in wide.values()), abs=1e-12)
    for path, slope in numbers(d_scores).items():
        for i in np.ndindex(*slope.shape):  # the sum over the weights of the score
            one = {q: np.zeros(s.shape) for q, s in flatten(scores).items()}
            one[path][i] = 1
            total = sum(np.sum(upstream[q] * weights[q] * spread(name, q, one)) for q in SHAPES)
            if rule.name == "l0":
                u = np.clip(float(flatten(noise)[path][i]), 1e-4, 1 - 1e-4)
                c = 1 / (1 + np.exp(-1.5 * (np.log(u / (1 - u)) + float(flatten(scores)[path][i]))))
                total *= 1.8 * c * (1 - c) * (0 < 1.2 * c - 0.1 < 1)
            assert slope[i] == pytest.approx(total, abs=1e-11)


@pytest.mark.parametrize("name", STRUCTURES)
def test_scores_lie_as_numpy_says_and_are_small(name):
    structure = STRUCTURES[name]
    kernels, scores, _ = make_trees(name, make_rule("movement"))
    pruning = Pruning(make_rule("movement"), ".*", structure)
    layout = pruning.layout(kernels)
    wide = layout.expand(layout.read(scores))
    assert wide.keys() == SHAPES.keys()
    for path, array in wide.items():
        np.testing.assert_array_equal(array, spread(name, path, numbers(scores)).astype(np.float32))
    sizes = {
        "element": 1408, "block": 176, "rows": 76, "columns": 76, "hybrid": 44, "heads": 24,
        "one part": 788,
    }  # fmt: skip
    state = create_state(kernels, pruning, make_optimizer(OptimizerConfig(), pruning, 10))
    dense = create_state(kernels, None, make_optimizer(OptimizerConfig(), None, 10))
    assert sum(s.size for s in jax.tree.leaves(state.scores)) == sizes[name]
    count = lambda s: sum(np.size(x) for x in jax.tree.leaves(s.opt_state))  # noqa: E731
    assert count(state) - count(dense) <= 2 * sizes[name] + 8  # two moments, and a few counters
    text = str(jax.make_jaxpr(lambda s: masks_of(pruning, kernels, s, 0.5))(scores))
    if name not in ("element", "one part"):
        assert all(f"{math.prod(s)}]" not in text for s in SHAPES.values())


def test_a_score_per_weight_costs_nothing():
    """Same jaxpr as a program without structures."""
    rule = make_rule("soft_movement")
    kernels, scores, _ = make_trees("element", rule)

    def plain(kernels, scores):
        masks = rule.masks(kernels, scores, 0.1)
        gate = jax.tree.map(straight_through, scores, masks)
        return jax.tree.map(jnp.multiply, kernels, gate), rule.penalty(scores)

    expected = str(jax.make_jaxpr(plain)(kernels, scores))
    for structure in (ELEMENT, Structure((Part(ATTENTION, Element()), Part(FFN, Element())))):

        def structured(kernels, scores, structure=structure):
            pruning = Pruning(rule, ".*", structure)
            return pruning.prune(kernels, scores, 0.1)[0], pruning.penalty(scores)

        assert str(jax.make_jaxpr(structured)(kernels, scores)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("rule", [r for r in RULES if r.has_penalty], ids=id_of)
def test_penalty_is_the_mean_over_arrays_times_the_factors(rule, x64):
    _, scores, _ = make_trees("hybrid", rule)
    pruning = Pruning(rule, ".*", STRUCTURES["hybrid"])
    shift = {"l1": 0.0, "l0": 2 / 3 * np.log(0.1 / 1.1)}[rule.regularization]
    sigma = {p: 1 / (1 + np.exp(-(s - shift))) for p, s in numbers(scores).items()}
    factor = {p: 3.0 if "ffn" in p else 0.25 for p in sigma}
    expected = np.mean([factor[p] * x.mean() for p, x in sigma.items()])
    value, slope = jax.value_and_grad(pruning.penalty)(scores)
    assert len(sigma) == 3 and float(value) == pytest.approx(expected, rel=1e-12)
    for path, x in sigma.items():
        want = factor[path] * x * (1 - x) / x.size / 3
        np.testing.assert_allclose(flatten(slope)[path], want, rtol=1e-10)


def of_runs(values: np.ndarray, count: int, m: int) -> np.ndarray:
    mask = np.zeros(values.shape, bool)
    for start in range(0, values.shape[0], m):
        for column in range(values.shape[1]):
            order = np.argsort(-values[start : start + m, column], kind="stable")
            mask[start + order[:count], column] = True
    return mask


@pytest.mark.parametrize("nm", [(2, 4), (1, 4), (1, 2), (4, 8), (2, 2)], ids=str)
@pytest.mark.parametrize("name", ["magnitude", "movement", "l0"])
def test_n_of_m_is_exact_in_every_run(name, nm):
    n, m = nm
    rng = np.random.default_rng(3)
    values = rng.integers(-3, 4, size=(16, 6)).astype(np.float32)  # many are tied
    rule = make_rule(name, final=n / m)
    structure = Structure((Part(".*", NofM(n, m)),))
    kernels = {"kernel": jnp.asarray(values)}
    scores = {"kernel": jnp.asarray(values) + 5} if rule.has_scores else {}
    rank = np.abs(values) if name == "magnitude" else values
    pruning = Pruning(rule, ".*", structure)
    masks = jax.jit(lambda v: masks_of(pruning, kernels, scores, v)["kernel"] != 0)
    for density in (1.0, 0.8, 0.6, n / m):
        count = n if density == n / m else max(n, int(density * m))
        got = np.asarray(masks(jnp.float32(density)))
        np.testing.assert_array_equal(got, of_runs(rank, count, m))
    runs = got.reshape(16 // m, m, 6).sum(axis=1)
    assert (runs == n).all()


@pytest.mark.slow
def test_n_of_m_beside_another_granularity_keeps_its_own_count():
    rule = make_rule("movement", final=0.1, scope="global")
    structure = Structure((Part(ATTENTION, NofM(2, 4)), Part(FFN, UNITS)))
    kernels, *_ = make_trees("element", rule)
    pruning = Pruning(rule, ".*", structure)
    scores = jax.tree.map(
        lambda s: jnp.asarray(np.random.default_rng(0).normal(size=s.shape), s.dtype),
        pruning.init_scores(kernels),
    )
    masks = numbers(masks_of(pruning, kernels, scores, jnp.float32(0.1)))
    assert masks["l0/ffn/units"].sum() == 2
    for path in (p for p in SHAPES if "attention" in p):
        np.testing.assert_array_equal(masks[path], of_runs(numbers(scores)[path], 2, 4))
    open_gates = jax.tree.map(lambda s: s + 9, scores)
    rule = make_rule("l0")  # no density: λ decides about the units, and runs are cut all the same
    gates = Pruning(rule, ".*", structure)
    masks = numbers(masks_of(gates, kernels, open_gates, jnp.float32(1.0)))
    assert masks["l0/ffn/units"].all()
    np.testing.assert_array_equal(
        masks["l0/attention/query/kernel"] != 0,
        of_runs(numbers(open_gates)["l0/attention/query/kernel"], 2, 4),
    )


@pytest.mark.slow
def test_global_scope_counts_scores_whatever_they_cover():
    rule = make_rule("movement", final=0.5, scope="global")
    _, scores, _ = make_trees("hybrid", rule)
    masks = masks_of(Pruning(rule, ".*", STRUCTURES["hybrid"]), unflatten(zeros()), scores, 0.5)
    assert sum(m.sum() for m in numbers(masks).values()) == 44 // 2


def zeros():
    return {path: jnp.zeros(shape) for path, shape in SHAPES.items()}


@pytest.mark.slow
def test_sharded_equals_unsharded():
    pruning = Pruning(make_rule("movement", final=0.3), ".*", STRUCTURES["hybrid"])
    kernels, scores, _ = make_trees("hybrid", pruning.rule)
    split = jax.NamedSharding(make_mesh(), jax.P("data"))
    put = jax.tree.map(lambda w: jax.device_put(w, split) if w.shape[0] % 8 == 0 else w, kernels)

    @jax.jit
    def grads(kernels, scores):
        def loss(k, s):
            pruned, masks = pruning.prune(k, s, 0.3)
            return sum(jnp.sum(w**2) for w in jax.tree.leaves(pruned)), masks

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(kernels, scores)

    alone, sharded = grads(kernels, scores), grads(put, scores)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), alone, sharded)


@pytest.mark.slow
def test_a_wrapped_module_and_a_state_have_the_scores_of_the_structure():
    structure = Structure((Part("kernel", Block(1, None)),))
    pruning = Pruning(make_rule("movement", final=0.5), "kernel", structure)
    model = Pruned(nn.Dense(4), pruning)
    x = jnp.eye(6)
    variables = model.init(jax.random.key(0), x)
    assert variables["scores"]["kernel"].shape == (6, 1)
    variables["scores"]["kernel"] = jnp.arange(6.0)[:, None]
    out = model.apply(variables, x, threshold=0.5)
    assert (np.asarray(out).any(axis=1) == [False] * 3 + [True] * 3).all()
    tx = make_optimizer(OptimizerConfig(), pruning, 1)
    state = create_state(variables["params"], pruning, tx)
    final = finalize(state, pruning)
    np.testing.assert_array_equal(final["kernel"], variables["params"]["kernel"])  # density 1


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        (Part(FFN, Block(3, 4)), ["blocks of 3 x 4", "l0/ffn/in/kernel", "16 x 20"]),
        (Part(FFN, Block(4, 16)), ["blocks of 4 x 16", "l0/ffn/in/kernel", "16 x 20"]),
        (Part(ATTENTION, NofM(2, 5)), ["5 consecutive inputs", "l0/attention/output", "24 x 16"]),
        (Part(ATTENTION, Shared("heads", HEADS.along, 7)), ["24 features", "heads of 7"]),
        (Part(ATTENTION, UNITS), ["l0/attention/output/kernel", "units"]),
        (Part(".*/in/kernel", UNITS), ["l0/ffn/units", "not matched"]),
    ],
    ids=str,
)
def test_what_does_not_divide_is_named(part, parts):
    with pytest.raises(InputError) as error:
        Pruning(make_rule("movement"), ".*", Structure((part,))).groups(unflatten(zeros()))
    for word in parts:
        assert word in str(error.value)


def test_bad_sizes_are_refused():
    for make in (lambda: NofM(3, 2), lambda: NofM(0, 4), lambda: Block(0, 4), lambda: Block(2, -1)):
        with pytest.raises(InputError, match="structure"):
            make()
    blocks = Pruning(make_rule("movement"), ".*", Structure((Part(".*", Block(1, 1)),)))
    with pytest.raises(InputError, match="are for matrices"):
        blocks.groups({"scale": jnp.ones(4)})
    with pytest.raises(ValueError, match="scope"):
        make_rule("soft_movement", scope=NofM(2, 4))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_means_of_half_precision_rank_as_those_of_float32(dtype):
    sizes = jnp.repeat(jnp.arange(1.0, 5.0), 128)[None]
    kernel = (jax.random.normal(jax.random.key(0), (512, 512)) * 0.05 * sizes).astype(dtype)
    structure = Structure((Part(".*", Block(512, 128)),))
    pruning = Pruning(make_rule("magnitude", final=0.5), ".*", structure)
    mask = pruning.prune({"kernel": kernel}, {}, 0.5)[1]["kernel"]
    assert mask[0, ::128].tolist() == [False, False, True, True]
    learned = Pruning(make_rule("movement", final=0.5), ".*", structure)
    scores = learned.init_scores({"kernel": kernel}, init="magnitude")["kernel"]
    assert scores.dtype == dtype and (jnp.diff(scores.reshape(-1)) > 0).all()
    tx = per_weight(learned)
    grads = {"params": {"kernel": kernel}, "scores": {"kernel": jnp.full((1, 4), 100.0, dtype)}}
    means = tx.update(grads, tx.init(grads), grads)[0]["scores"]["kernel"]
    np.testing.assert_allclose(np.asarray(means, np.float32), 100 / 65536, rtol=2**-7)


@pytest.mark.parametrize("granularity", [Block(64, 64), Shared("heads", (("wide/kernel", 1),), 64)])
def test_gradients_of_grouped_scores_are_summed_in_float32(granularity):
    """In bfloat16 a sum of ones ends at 256: 256 + 1 rounds to 256."""
    pruning = Pruning(make_rule("movement"), "wide/kernel", Structure((Part(".*", granularity),)))
    params = {"wide": {"kernel": jnp.ones((512, 512), jnp.bfloat16)}}

    def total(scores):
        pruned, _ = pruning.prune(params, scores, 1.0)
        return pruned["wide"]["kernel"].astype(jnp.float32).sum()

    scores = pruning.init_scores(params)
    slopes = jax.tree.leaves(jax.jit(jax.grad(total))(scores))
    covered = 512 * 512 / sum(s.size for s in slopes)
    assert all(s.dtype == jnp.bfloat16 and (s == covered).all() for s in slopes)
