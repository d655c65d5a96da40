"""Conformance suite of pruning rules: every registered rule in each of its scopes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mpjax.optim.make import OptimizerConfig, schedules
from mpjax.parallel.sharding import make_mesh
from mpjax.pruning import (
    RULES,
    Pruning,
    Rule,
    linear_density,
    make_rule,
    mask_density,
    top_v,
)

DENSITY = 0.29  # int(0.29 * 100) is 28: a density whose product is not what it seems


def every_rule() -> list[Rule]:
    """Every registered rule in each of its scopes, with final ``DENSITY`` if it has a density."""
    rules = []
    for rule in RULES.values():
        for scope in rule.scopes:
            options = {"final": DENSITY} if rule.is_density else {}
            rules.append(rule(scope=scope, **options))  # pyright: ignore[reportArgumentType]
    return rules


def id_of(rule: Rule) -> str:
    return f"{rule.name}-{rule.scope}"


all_rules = pytest.mark.parametrize("rule", every_rule(), ids=id_of)


def make_trees(rule: Rule, seed: int = 0):
    rng = np.random.default_rng(seed)
    shapes = {"a": {"kernel": (16, 24)}, "b": {"kernel": (40, 8)}}
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    kernels = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s)), shapes, is_leaf=is_shape)
    scores = {}
    if rule.has_scores:
        scores = jax.tree.map(
            lambda s: jnp.asarray(2 * rng.normal(size=s)), shapes, is_leaf=is_shape
        )
    key = jax.random.key(seed)
    return kernels, scores, rule.sample_noise(key, scores)


def expected_mask(rule: Rule, kernels, scores, threshold, noise):
    """NumPy oracle of `Rule.masks`."""
    w = {k: np.asarray(v["kernel"], np.float64) for k, v in kernels.items()}
    s = {k: np.asarray(v["kernel"], np.float64) for k, v in scores.items()}
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731

    def top(values):
        flat = {k: v.ravel() for k, v in values.items()}
        if rule.scope == "global":
            joined = np.concatenate(list(flat.values()))
            kept = np.zeros(joined.size, bool)
            kept[np.argsort(-joined, kind="stable")[: int(threshold * joined.size)]] = True
            parts = np.split(kept, np.cumsum([v.size for v in flat.values()])[:-1])
            masks = dict(zip(flat, parts, strict=True))
        else:
            masks = {}
            for k, v in flat.items():
                masks[k] = np.zeros(v.size, bool)
                masks[k][np.argsort(-v, kind="stable")[: int(threshold * v.size)]] = True
        return {k: masks[k].reshape(values[k].shape) for k in values}

    if rule.name == "magnitude":
        return top({k: np.abs(v) for k, v in w.items()})
    if rule.name == "movement":
        return top(s)
    if rule.name == "soft_movement":
        return {k: sigmoid(v) > threshold for k, v in s.items()}
    if rule.name == "l0":
        gates = {}
        for k, v in s.items():
            if noise is None:
                c = sigmoid(v)
            else:
                u = np.clip(np.asarray(noise[k]["kernel"], np.float64), 1e-4, 1 - 1e-4)
                c = sigmoid((np.log(u) - np.log(1 - u) + v) / (2 / 3))
            gates[k] = np.clip(c * 1.2 - 0.1, 0, 1)
        kept = top(s)
        return {k: g * kept[k] for k, g in gates.items()}
    raise AssertionError(f"no oracle for rule {rule.name}: write one")


@all_rules
@pytest.mark.parametrize("noisy", [False, True])
def test_masks_equal_the_oracle(rule, noisy, x64):
    kernels, scores, noise = make_trees(rule)
    noise = noise if noisy else None
    for threshold in (rule.initial, 0.5 * (rule.initial + rule.final), rule.final):
        masks = jax.jit(rule.masks)(kernels, scores, jnp.asarray(threshold), noise)
        expected = expected_mask(rule, kernels, scores, threshold, noise)
        for name, mask in masks.items():
            np.testing.assert_allclose(mask["kernel"], expected[name], rtol=0, atol=1e-14)


@pytest.mark.slow
@all_rules
def test_jit_equals_eager_and_compiles_once(rule):
    kernels, scores, noise = make_trees(rule)
    pruning, traced = Pruning(rule, ".*"), []

    @jax.jit
    def prune(kernels, scores, threshold, noise):
        traced.append(1)
        return pruning.prune(kernels, scores, threshold, noise)[0]

    for threshold in (rule.initial, 0.4, rule.final):
        t = jnp.asarray(threshold, jnp.float32)
        compiled = prune(kernels, scores, t, noise)
        eager, _ = pruning.prune(kernels, scores, t, noise)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), compiled, eager)
    assert len(traced) == 1


@pytest.mark.slow
@all_rules
def test_gradient_law(rule, x64):
    kernels, scores, noise = make_trees(rule)
    rng = np.random.default_rng(5)
    upstream = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape)), kernels)
    threshold = jnp.asarray(rule.final)

    def loss(kernels, scores):
        pruned, _ = Pruning(rule, ".*").prune(kernels, scores, threshold, noise)
        return sum(jax.tree.leaves(jax.tree.map(lambda p, u: jnp.sum(p * u), pruned, upstream)))

    d_kernels, d_scores = jax.grad(loss, argnums=(0, 1))(kernels, scores)
    masks = expected_mask(rule, kernels, scores, rule.final, noise)
    for name in kernels:
        w, u = np.asarray(kernels[name]["kernel"]), np.asarray(upstream[name]["kernel"])
        np.testing.assert_allclose(d_kernels[name]["kernel"], u * masks[name], atol=1e-12)
        if not rule.has_scores:
            continue
        if rule.name == "l0":  # the true derivative of the gate, cut or not
            assert noise is not None
            draw = np.clip(np.asarray(noise[name]["kernel"]), 1e-4, 1 - 1e-4)
            x = (np.log(draw) - np.log(1 - draw) + np.asarray(scores[name]["kernel"])) * 1.5
            c = 1 / (1 + np.exp(-x))
            inside = (c * 1.2 - 0.1 > 0) & (c * 1.2 - 0.1 < 1)
            expected = u * w * inside * 1.2 * c * (1 - c) * 1.5
        else:  # straight through: every entry, masked ones too
            expected = u * w
        np.testing.assert_allclose(d_scores[name]["kernel"], expected, atol=1e-12)


@pytest.mark.slow
@all_rules
def test_vmap_over_thresholds(rule):
    kernels, scores, _ = make_trees(rule)
    thresholds = jnp.linspace(rule.initial, rule.final, 3)
    together = jax.vmap(lambda t: rule.masks(kernels, scores, t))(thresholds)
    for i, t in enumerate(thresholds):
        alone = rule.masks(kernels, scores, t)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_array_equal(a[i], b), together, alone)


@all_rules
def test_schedule_endpoints(rule):
    config = OptimizerConfig(warmup_steps=10, initial_warmup=1, final_warmup=2, final_lambda=7.0)
    threshold, lam = schedules(config, rule, total_steps=100)
    assert float(threshold(0)) == float(threshold(10)) == rule.initial
    assert float(threshold(81)) == float(threshold(100)) == float(np.float32(rule.final))
    middle = [float(threshold(t)) for t in range(10, 82)]
    steps = np.diff(middle)
    assert (steps <= 0).all() if rule.initial >= rule.final else (steps >= 0).all()
    assert float(lam(100)) == pytest.approx(7.0 if rule.has_penalty else 0.0)


@all_rules
def test_sharded_equals_unsharded(rule):
    kernels, scores, noise = make_trees(rule)
    mesh = make_mesh()
    split = NamedSharding(mesh, PartitionSpec("data"))
    put = lambda tree: jax.tree.map(lambda x: jax.device_put(x, split), tree)  # noqa: E731
    threshold = jnp.asarray(rule.final, jnp.float32)
    masks = jax.jit(rule.masks)
    alone = masks(kernels, scores, threshold, noise)
    sharded = masks(put(kernels), put(scores), threshold, None if noise is None else put(noise))
    jax.tree.map(np.testing.assert_array_equal, alone, sharded)


@pytest.mark.slow
@all_rules
def test_density_asked_is_density_got(rule):
    if not rule.is_density:
        pytest.skip("its threshold is not a density")
    kernels, scores, _ = make_trees(rule)
    if rule.name == "l0":  # a gate below this is shut before any cut
        scores = jax.tree.map(lambda s: jnp.maximum(s, -2.0), scores)
    got, _ = Pruning(rule).prune(kernels, scores, jnp.asarray(DENSITY, jnp.float32))
    kept = [int(np.count_nonzero(w["kernel"])) for w in got.values()]
    sizes = [w["kernel"].size for w in kernels.values()]
    if rule.scope == "global":
        assert sum(kept) == int(DENSITY * sum(sizes))
    else:
        assert kept == [int(DENSITY * n) for n in sizes]
    masks = rule.masks(kernels, scores, DENSITY)
    assert float(mask_density(masks)) == pytest.approx(sum(kept) / sum(sizes))
    assert linear_density(got, ".*kernel") == sum(kept) / sum(sizes)


@all_rules
def test_penalty_and_its_gradient(rule, x64):
    _, scores, _ = make_trees(rule)
    if not rule.has_penalty:
        assert float(rule.penalty(scores)) == 0
        return
    shift = {"l1": 0.0, "l0": 2 / 3 * np.log(0.1 / 1.1)}[rule.regularization]
    arrays = [np.asarray(v["kernel"]) for v in scores.values()]
    p = [1 / (1 + np.exp(-(a - shift))) for a in arrays]
    assert float(rule.penalty(scores)) == pytest.approx(np.mean([x.mean() for x in p]), rel=1e-12)
    for g, x in zip(jax.tree.leaves(jax.grad(rule.penalty)(scores)), p, strict=True):
        np.testing.assert_allclose(g, x * (1 - x) / x.size / len(p), rtol=1e-10)


@all_rules
def test_init_scores(rule):
    kernels, _, _ = make_trees(rule)
    constant = rule.init_scores(kernels)
    if not rule.has_scores:
        assert constant == {}
        return
    for score in jax.tree.leaves(constant):
        np.testing.assert_array_equal(score, np.float32(rule.default_score_scale))
    bound = {"a": 16**-0.5, "b": 40**-0.5}
    random = rule.init_scores(kernels, init="kaiming", key=jax.random.key(0))
    for name, score in random.items():
        largest = float(jnp.max(jnp.abs(score["kernel"])))
        assert 0.9 * bound[name] < largest <= bound[name]
    with pytest.raises(ValueError, match="constant, uniform or kaiming"):
        rule.init_scores(kernels, init="zeros")


def test_soft_movement_never_empties_a_matrix():
    rule = make_rule("soft_movement")
    scores = {"a": jnp.arange(1000.0).reshape(20, 50) - 5000, "b": jnp.full((3, 4), 9.0)}
    masks = rule.masks(scores, scores, 0.1)
    assert np.flatnonzero(masks["a"]).tolist() == list(range(994, 1000))  # int(0.005·1000) + 1
    assert bool(masks["b"].all())


@pytest.mark.slow
def test_published_global_cut():
    """int(v·n) + 1 survive, none is pruned at 1, ties at the cut all go, 0.5% of a matrix stay."""
    rule = make_rule("movement", scope="global", final=0.5, published_cut=True)
    scores = {"a": 2 * jnp.arange(10.0), "b": 2 * jnp.arange(10.0) + 1}
    assert int(sum(m.sum() for m in rule.masks(scores, scores, 0.25).values())) == 6
    assert int(sum(m.sum() for m in rule.masks(scores, scores, jnp.float32(1.0)).values())) == 20
    tied = {"a": jnp.zeros(10), "b": jnp.ones(10)}
    masks = rule.masks(tied, tied, 0.25)
    assert int(masks["b"].sum()) == 0 and int(masks["a"].sum()) == 0
    poor = {"a": jnp.arange(400.0) - 1e6, "b": jnp.arange(400.0)}
    masks = rule.masks(poor, poor, 0.25)
    assert int(masks["a"].sum()) == 3 and int(masks["b"].sum()) == 201


def test_bad_rules_are_refused():
    with pytest.raises(ValueError, match="must be one of l0, magnitude, movement, soft_movement"):
        make_rule("momentum")
    with pytest.raises(ValueError, match="has no option lamda"):
        make_rule("movement", lamda=3)
    with pytest.raises(ValueError, match="final density is 0"):
        make_rule("movement", final=0.0)
    with pytest.raises(ValueError, match="scope is 'global'"):
        make_rule("soft_movement", scope="global")
    with pytest.raises(ValueError, match="regularization is 'l2'"):
        make_rule("movement", regularization="l2")
    with pytest.raises(ValueError, match="soft_movement: floor is None; it must be a number"):
        make_rule("soft_movement", floor=None)
    with pytest.raises(ValueError, match=r"magnitude: final is '0.1'; it must be a number"):
        make_rule("magnitude", final="0.1")
    assert make_rule("magnitude", final=np.float32(0.5)).final == 0.5
    assert dataclasses.replace(make_rule("l0"), cut=False).final == 1.0


def test_only_a_subclass_with_a_name_of_its_own_becomes_a_rule():
    known = dict(RULES)

    class Mine(RULES["movement"]):
        pass

    assert Mine.name == "movement" and known == RULES


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_floor_of_a_matrix_holds_in_half_precision(dtype):
    scores = {"kernel": (-(jnp.arange(64) + 3.0)).reshape(8, 8).astype(dtype)}  # none are tied
    kernels = {"kernel": jnp.ones((8, 8), dtype)}
    soft = make_rule("soft_movement")
    published = make_rule("movement", scope="global", published_cut=True)
    assert int(soft.masks(kernels, scores, 0.1)["kernel"].sum()) == 1
    assert int(published.masks(kernels, scores, 0.1)["kernel"].sum()) == 7


def test_a_rule_without_scores_needs_masks_only():
    @dataclasses.dataclass(frozen=True)
    class Sizes(Rule):
        has_scores = False

        def masks(self, kernels, scores, threshold, noise=None):
            return top_v(jax.tree.map(jnp.abs, kernels), threshold, self)

    pruned, _ = Pruning(Sizes(final=0.5), "w").prune({"w": jnp.array([[1.0, -3.0]])}, {}, 0.5)
    assert pruned["w"].tolist() == [[0.0, -3.0]]
