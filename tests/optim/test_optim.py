"""Optax chain: each transformation alone, then the whole chain against a NumPy replay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict, freeze, unfreeze

from mpjax.errors import InputError
from mpjax.optim.hyperparameters import Hyperparameters
from mpjax.optim.make import OptimizerConfig, labels, make_optimizer, schedules
from mpjax.optim.transforms import (
    ClipState,
    add_score_penalty,
    clip_grad_norm,
    find_state,
    freeze_params,
    pruning_state,
    sparsity_schedule,
)
from mpjax.pruning import (
    Block,
    Part,
    Pruning,
    cubic_schedule,
    linear_cycles,
    linear_warmup_decay,
    make_rule,
)
from mpjax.pruning.schedules import held
from mpjax.training.state import create_state
from mpjax.training.step import finalize

IMPORTANCE = {"score_optimizer": "sensitivity"}


def cubic(t, initial, final, total, warmup, i, f):
    if t <= i * warmup:
        return initial
    if t > total - f * warmup:
        return final
    part = (t - i * warmup) / (total - (i + f) * warmup)
    return final + (initial - final) * (1 - part) ** 3


@pytest.mark.parametrize("i, f", [(1, 2), (0, 0), (2, 1), (0.5, 1.5)])
def test_cubic_schedule_equals_the_formula(i, f, x64):
    x = cubic_schedule(1.0, 0.03, 50, 8, i, f)
    for t in range(52):
        assert float(x(jnp.int32(t))) == pytest.approx(cubic(t, 1.0, 0.03, 50, 8, i, f), abs=1e-15)


def test_cubic_schedule_refuses_warmups_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(1 \+ 2\) \* 10 = 30 leaves no room .* 30 steps"):
        cubic_schedule(1.0, 0.1, 30, 10, 1, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        cubic_schedule(1.0, 0.1, 30, -1)


def test_schedules_are_float64_under_x64(x64):
    """An int32 step must not make them float32."""
    assert linear_warmup_decay(3e-5, 26, 4)(jnp.int32(7)).dtype == jnp.float64
    assert float(linear_warmup_decay(3e-5, 30, 4)(jnp.int32(7))) == 3e-5 * (23 / 26)
    assert cubic_schedule(1, 0.1, 30, 4)(jnp.int32(7)).dtype == jnp.float64


def cycles(peak, floor, total, warmup, cycle, start):
    """NumPy oracle of `linear_cycles`: stretch by stretch."""
    ends = [0, *([start] if start else [])]
    for _ in range(max(1, int((total - start) / cycle + 0.5)) - 1):
        ends.append(ends[-1] + cycle)
    rates = []
    for begin, end in zip(ends, [*ends[1:], total], strict=True):
        first = min(max(begin, warmup), end)
        rates += [peak * t / warmup for t in range(begin, first)]
        rates += list(np.linspace(peak, floor, end - first + 1)[:-1])
    return np.array([*rates, floor])


@pytest.mark.parametrize(
    ("total", "warmup", "cycle", "start"),
    [(30, 0, 4, 2), (30, 2, 4, 2), (31, 1, 4, 3), (29, 3, 4, 7), (30, 5, 4, 2), (30, 2, 9, 0),
     (10, 0, 40, 2), (10, 2, 1, 2), (30, 3, 30, 0)],
)  # fmt: skip
def test_cycles_equal_the_oracle(total, warmup, cycle, start, x64):
    rate = linear_cycles(3e-4, 1e-5, total, warmup, cycle, start)
    expected = cycles(3e-4, 1e-5, total, warmup, cycle, start)
    found = [float(rate(jnp.int32(t))) for t in range(total + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert float(rate(total + 5)) == 1e-5


def test_one_stretch_to_zero_is_the_usual_decay(x64):
    rate, usual = linear_cycles(3e-5, 0.0, 26, 4), linear_warmup_decay(3e-5, 26, 4)
    for t in range(30):
        assert float(rate(jnp.int32(t))) == pytest.approx(float(usual(jnp.int32(t))), rel=1e-14)
    assert rate(jnp.int32(7)).dtype == jnp.float64
    with pytest.raises(ValueError, match="a cycle has 0 steps"):
        linear_cycles(1.0, 0.0, 26, 4, 0)


@pytest.mark.parametrize(("first_step", "start"), [(0, None), (1, None), (0, 3), (1, 3)])
def test_a_held_schedule_is_sampled_at_its_cuts(first_step, start):
    every, total = 4, 18
    x = held(lambda t: t, every, total, first_step, start)
    sample, expected = first_step, []
    for t in range(first_step, first_step + total):
        if (t - (first_step if start is None else start)) % every == 0 and t >= (start or 0):
            sample = t
        expected.append(sample)
    end = first_step + total
    assert [int(x(t)) for t in range(first_step, end + 1)] == [*expected, end]


def test_clip_has_the_factor_of_pytorch(x64):
    torch_factor = 1.0 / (5.0 + 1e-6)
    tx = clip_grad_norm(1.0)
    updates, state = tx.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, tx.init({}))
    assert float(updates["a"][0]) == pytest.approx(3 * torch_factor, rel=1e-15)
    assert float(state.norm) == 5.0
    small, _ = tx.update({"a": jnp.array([0.3])}, tx.init({}))
    assert float(small["a"][0]) == 0.3


def test_penalty_alone_with_plain_optax():
    """In a plain optax chain the penalty alone drives scores to zero."""
    tx = optax.chain(
        add_score_penalty(lambda s: jnp.sum(s["a"] ** 2), lambda t: 1.0), optax.sgd(0.1)
    )
    variables = {"params": {"w": jnp.ones(2)}, "scores": {"a": jnp.ones(2)}}
    state = tx.init(variables)
    zero = jax.tree.map(jnp.zeros_like, variables)
    for _ in range(3):
        updates, state = tx.update(zero, state, variables)
        variables = optax.apply_updates(variables, updates)
    np.testing.assert_allclose(variables["scores"]["a"], 0.8**3, rtol=1e-6)
    np.testing.assert_array_equal(variables["params"]["w"], 1.0)
    with pytest.raises(ValueError, match="needs the variables"):
        tx.update(zero, state)


def test_penalty_counts_its_own_steps():
    tx = add_score_penalty(lambda s: jnp.sum(s["a"]), lambda t: 10.0 * t, first_step=1)
    variables = {"params": {}, "scores": {"a": jnp.zeros(1)}}
    state = tx.init(variables)
    seen = []
    for _ in range(3):
        updates, state = tx.update(variables, state, variables)
        seen.append(float(updates["scores"]["a"][0]))
    assert seen == [10.0, 20.0, 30.0]


def test_sparsity_state_is_that_of_the_next_forward_pass():
    tx = optax.chain(
        optax.sgd(1.0), sparsity_schedule(lambda t: t / 10, lambda t: t * 2.0, first_step=1)
    )
    state = tx.init({"w": jnp.ones(1)})
    for expected in (1, 2, 3):
        now = pruning_state(state)
        assert now is not None
        assert int(now.step) == expected
        assert float(now.threshold) == pytest.approx(expected / 10)
        assert float(now.lam) == expected * 2.0
        _, state = tx.update({"w": jnp.ones(1)}, state, {"w": jnp.ones(1)})
    assert pruning_state(optax.sgd(1.0).init({})) is None


def test_labels_and_freeze_params():
    variables = {
        "params": {
            "embeddings": {"norm": {"scale": 1}},
            "dense": {"kernel": 2, "bias": 3},
            "norm": {"scale": 4},
        },
        "scores": {"dense": {"kernel": 5}},
    }
    frozen = lambda path: path.startswith("embeddings")  # noqa: E731
    assert labels(variables, frozen) == {
        "params": {
            "embeddings": {"norm": {"scale": "frozen"}},
            "dense": {"kernel": "weights", "bias": "no_decay"},
            "norm": {"scale": "no_decay"},
        },
        "scores": {"dense": {"kernel": "scores"}},
    }
    grads = jax.tree.map(float, variables)
    updates, _ = freeze_params(frozen).update(jax.tree.map(jnp.asarray, grads), optax.EmptyState())
    assert float(updates["params"]["embeddings"]["norm"]["scale"]) == 0.0
    assert float(updates["params"]["dense"]["kernel"]) == 2.0


@pytest.mark.parametrize(("asked", "moves"), [({}, True), ({"frozen": ".*"}, False)])
def test_nothing_of_a_model_is_frozen_unless_asked(asked, moves):
    tx = make_optimizer(OptimizerConfig(learning_rate=0.1, **asked), None, 10)
    table = jnp.ones(2)
    for params in ({"m": {"embeddings": {"table": table}}}, {"embeddings": table}, table):
        variables = {"params": params, "scores": {}}
        updates, _ = tx.update(variables, tx.init(variables), variables)
        assert all((leaf != 0).all() == moves for leaf in jax.tree.leaves(updates))


def test_a_frozen_pattern_that_matches_nothing_is_refused():
    tx = make_optimizer(OptimizerConfig(frozen="embeddings"), None, 10)  # .*/embeddings/.* is meant
    params = {"m": {"embeddings": {"table": jnp.ones(2)}}}
    with pytest.raises(ValueError, match=r"'embeddings' and matches no.* m/embeddings/table$"):
        tx.init({"params": params, "scores": {}})


def test_whole_chain_equals_a_numpy_replay(x64):
    """Adam with three groups, penalty, clip, warm-up and frozen embeddings, for 12 steps."""
    config = OptimizerConfig(
        learning_rate=1e-2, score_learning_rate=0.3, weight_decay=0.1, max_grad_norm=0.5,
        warmup_steps=2, final_warmup=1, final_lambda=5.0, frozen=".*/embeddings/.*",
    )  # fmt: skip
    pruning, total = Pruning(make_rule("soft_movement")), 12
    tx = make_optimizer(config, pruning, total)
    rng = np.random.default_rng(0)
    shapes = {"e": (5,), "w": (4, 3), "b": (3,), "s": (4, 3)}
    x = {k: rng.normal(size=s) for k, s in shapes.items()}
    variables = {
        "params": {
            "m": {"embeddings": {"table": jnp.asarray(x["e"])}},
            "d": {"kernel": jnp.asarray(x["w"]), "bias": jnp.asarray(x["b"])},
        },
        "scores": {"d": {"kernel": jnp.asarray(x["s"])}},
    }
    state = tx.init(variables)
    moments = {k: (np.zeros(s), np.zeros(s)) for k, s in shapes.items()}
    rates = {"w": 1e-2, "b": 1e-2, "s": 0.3}
    for t in range(total):
        g = {k: rng.normal(size=s) for k, s in shapes.items()}
        grads = {
            "params": {
                "m": {"embeddings": {"table": jnp.asarray(g["e"])}},
                "d": {"kernel": jnp.asarray(g["w"]), "bias": jnp.asarray(g["b"])},
            },
            "scores": {"d": {"kernel": jnp.asarray(g["s"])}},
        }
        updates, state = jax.jit(tx.update)(grads, state, variables)
        variables = optax.apply_updates(variables, updates)

        lam = 5.0 * cubic(t, 0.0, 0.1, total, 2, 1, 1) / 0.1
        sigma = 1 / (1 + np.exp(-x["s"]))
        g["s"] = g["s"] + lam * sigma * (1 - sigma) / sigma.size
        norm = np.sqrt(sum(np.sum(g[k] ** 2) for k in rates))
        clip = find_state(state, ClipState)
        assert clip is not None and float(clip.norm) == pytest.approx(norm, rel=1e-12)
        factor = min(1.0, 0.5 / (norm + 1e-6))
        scale = t / 2 if t < 2 else (total - t) / (total - 2)
        for k, rate in rates.items():
            m, v = moments[k]
            m[:] = 0.9 * m + 0.1 * factor * g[k]
            v[:] = 0.999 * v + 0.001 * (factor * g[k]) ** 2
            step = (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
            x[k] = x[k] - rate * scale * (step + (0.1 * x[k] if k == "w" else 0.0))
    got = {
        "e": variables["params"]["m"]["embeddings"]["table"],
        "w": variables["params"]["d"]["kernel"],
        "b": variables["params"]["d"]["bias"],
        "s": variables["scores"]["d"]["kernel"],
    }
    for k, expected in x.items():
        np.testing.assert_allclose(got[k], expected, rtol=0, atol=1e-13, err_msg=k)


@pytest.mark.parametrize("name", ["magnitude", "movement", "soft_movement", "l0"])
def test_lambda_follows_the_threshold(name):
    rule = make_rule(name)
    config = OptimizerConfig(warmup_steps=5, final_lambda=3.0)
    threshold, lam = schedules(config, rule, 100)
    for t in (0, 20, 60, 100):
        expected = 0.0
        if name == "soft_movement":
            expected = 3.0 * float(threshold(t)) / 0.1
        if name == "l0":
            expected = 3.0
        assert float(lam(t)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["movement", "soft_movement"])
def test_a_rising_lambda_is_that_of_a_rising_threshold(name, x64):
    """400·τ(t)/0.1 with τ from 0 to 0.1, whatever the rule's own threshold does."""
    rule = make_rule(name, regularization="l1")
    config = OptimizerConfig(warmup_steps=5, final_lambda=400.0, lambda_ramp="rising")
    _, lam = schedules(config, rule, 100)
    for t in range(101):
        expected = 400 * cubic(t, 0.0, 0.1, 100, 5, 1, 2) / 0.1
        assert float(lam(t)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


OTHERS = {"batch_stats": {"norm": {"mean": jnp.full(3, 7.0)}}}


def test_a_bias_and_a_norm_have_no_decay_at_any_depth():
    params = {"kernel": 1, "bias": 2, "scale": 3, "deep": {"bias": 4, "embedding": 5}}
    assert labels({"params": params, "scores": {}}, lambda path: False)["params"] == {
        "kernel": "weights",
        "bias": "no_decay",
        "scale": "no_decay",
        "deep": {"bias": "no_decay", "embedding": "weights"},
    }
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5)
    tx = make_optimizer(config, None, 10)
    variables = {"params": {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}, "scores": {}}
    zeros = jax.tree.map(jnp.zeros_like, variables)
    updates, _ = tx.update(zeros, tx.init(variables), variables)
    assert float(updates["params"]["bias"][0]) == 0.0
    assert float(updates["params"]["kernel"][0, 0]) == pytest.approx(-0.05)


def test_a_chain_keeps_the_type_of_its_variables():
    """Flax gives a `FrozenDict` to a `TrainState`."""
    pruning = Pruning(make_rule("movement", final=0.5, regularization="l1"), "d/kernel")
    params = {"d": {"kernel": jnp.ones((2, 2))}, "e": {"kernel": jnp.ones((2, 2))}}
    plain = {"params": params, "scores": pruning.init_scores(params)}
    config = OptimizerConfig(frozen="e/kernel", final_lambda=1.0, warmup_steps=1)
    tx = make_optimizer(config, pruning, 10)
    frozen = freeze(plain)
    found, _ = tx.update(frozen, tx.init(frozen), frozen)
    expected, _ = tx.update(plain, tx.init(plain), plain)
    assert isinstance(found, FrozenDict)
    jax.tree.map(np.testing.assert_array_equal, unfreeze(found), expected)


def test_what_is_no_pruning_or_no_pattern_is_named():
    with pytest.raises(ValueError, match=r"pruning is Movement\(.*; give a mpjax.Pruning, or None"):
        make_optimizer(OptimizerConfig(), make_rule("movement"), 10)
    pruning = Pruning(make_rule("movement", final=0.5), "kernel")
    with pytest.raises(ValueError, match=r"frozen is '\*', which is no regular expression"):
        make_optimizer(OptimizerConfig(frozen="*"), pruning, 10)
    params = {"kernel": jnp.ones((2, 2))}
    for threshold, found in ((None, "None"), (jnp.array([0.5]), r"of shape \(1,\)")):
        with pytest.raises(ValueError, match=f"the threshold is {found}; give a number"):
            pruning.prune(params, pruning.init_scores(params), threshold)
    with pytest.raises(ValueError, match="finalize takes variables"):
        pruning.finalize(params, 0.5)
    with pytest.raises(ValueError, match=r"where of a part is '\*', which is no regular"):
        Part("*", Block(1, 2))
    with pytest.raises(ValueError, match="the granularity of a part is the text '2:4'"):
        Part(".*", "2:4")


def test_biases_of_any_name_have_no_decay():
    params = [(jnp.ones((2, 3)), jnp.ones(3)), {"cell": {"bias_n": jnp.ones((2, 3))}}]
    found = labels({"params": params}, lambda path: False)["params"]
    assert found == [("weights", "no_decay"), {"cell": {"bias_n": "no_decay"}}]


def test_the_scale_of_an_equinox_norm_has_no_decay():
    params = {"norm": {"weight": jnp.ones(4)}, "linear": {"weight": jnp.ones((4, 4))}}
    found = labels({"params": params, "scores": {}}, lambda path: False)["params"]
    assert found == {"norm": {"weight": "no_decay"}, "linear": {"weight": "weights"}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lambda_ramp": "risng"}, "lambda_ramp is 'risng'; it must be threshold or rising"),
        ({"first_density": 10.0}, "first_density is 10.0; it must be above 0 and at most 1"),
        ({"prune_every": 0}, "masks change every 0 steps"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number of at least"),
        ({"score_learning_rate": np.float32(-1)}, "score_learning_rate is -1.0; it must be"),
        ({"initial_warmup": float("nan")}, "initial_warmup is nan"),
        ({"weight_decay": jnp.float32(-1)}, "weight_decay is -1.0"),
        ({"lr_cycle": 0}, "lr_cycle is 0; it must be 1 step or more"),
        ({"final_lambda": float("inf")}, "final_lambda is inf"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0; it must be above 0, inf for no clipping"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm is nan"),
        ({"learning_rate": "1e-3"}, "learning_rate is '1e-3'; it must be a number"),
        ({"learning_rate": optax.constant_schedule(1e-3)}, "warmup_steps, lr_cycle and lr_floor"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        OptimizerConfig(**options)


@pytest.mark.parametrize(
    ("rule", "options", "said"),
    [
        (make_rule("soft_movement"), IMPORTANCE, "no penalty; use movement, not soft_movement"),
        (make_rule("l0"), IMPORTANCE, "use movement, not l0 with regularization 'l0'"),
        (
            make_rule("movement", regularization="l1"),
            IMPORTANCE,
            "not movement with regularization 'l1'",
        ),
        (make_rule("soft_movement"), {"first_density": 0.5}, "soft_movement is given no density"),
    ],
)
def test_options_for_a_density_need_one(rule, options, said):
    make_optimizer(OptimizerConfig(**options), Pruning(make_rule("movement"), "kernel"), 10)
    with pytest.raises(ValueError, match=said):
        make_optimizer(OptimizerConfig(**options), Pruning(rule, "kernel"), 10)


def test_a_first_density_below_the_final_one_is_refused():
    pruning = Pruning(make_rule("movement", final=0.25), "kernel")
    with pytest.raises(ValueError, match=r"first_density is 0\.2, below the final density 0\.25"):
        make_optimizer(OptimizerConfig(first_density=0.2), pruning, 10)
    lower = OptimizerConfig().hyperparameters()._replace(final_threshold=0.1)
    make_optimizer(OptimizerConfig(first_density=0.2), pruning, 10, lower)
    higher = lower._replace(final_threshold=0.5)
    with pytest.raises(ValueError, match=r"below the final density 0\.5"):
        make_optimizer(OptimizerConfig(first_density=0.3), pruning, 10, higher)


@pytest.mark.parametrize(
    ("options", "total", "fits"),
    [
        ({"prune_every": 25}, 100, False),
        ({"prune_every": 25, "warmup_steps": 13}, 100, True),  # the ramp ends at 74, cut at 75
        ({"prune_every": 25, "warmup_steps": 12}, 100, False),  # at 76
        ({"prune_every": 500}, 100, False),
        ({"prune_every": 2}, 6, False),
        ({"prune_every": 3, "first_cut": 2}, 6, True),  # cuts at 2 and 5, the last step
        ({"prune_every": 3, "first_cut": 50}, 6, False),
        ({"prune_every": 3, "first_step": 1}, 7, True),  # at 1, 4, 7
    ],
)
def test_held_masks_reach_the_final_density_or_are_refused(options, total, fits):
    pruning = Pruning(make_rule("magnitude", final=0.25), ".*kernel")
    config = OptimizerConfig(**options)
    if not fits:
        with pytest.raises(ValueError, match="the final density would be missed"):
            make_optimizer(config, pruning, total)
        return
    tx = make_optimizer(config, pruning, total)
    params = {"kernel": jnp.arange(1.0, 401.0).reshape(20, 20)}
    state = create_state(params, pruning, tx)
    update = jax.jit(lambda s, v: tx.update(jax.tree.map(jnp.zeros_like, v), s, v)[1])
    opt_state = state.opt_state
    for _ in range(total):
        opt_state = update(opt_state, state.variables)
    kept = finalize(state.replace(opt_state=opt_state), pruning)["kernel"]
    assert abs(int(jnp.count_nonzero(kept)) - 100) <= 1


def test_a_rule_without_scores_needs_no_rate_and_no_collection_of_them():
    pruning = Pruning(make_rule("magnitude", final=0.5), ".*kernel")
    tx = make_optimizer(OptimizerConfig(), pruning, 10, Hyperparameters(1e-3))
    variables = {"params": {"kernel": jnp.ones((2, 2))}}
    updates, _ = tx.update(variables, tx.init(variables), variables)
    assert float(jnp.abs(updates["params"]["kernel"]).sum()) > 0


def test_parameters_in_float16_are_refused():
    tx = make_optimizer(OptimizerConfig(), None, 10)
    with pytest.raises(InputError, match="float16, in which the ε of Adam is 0"):
        tx.init({"params": {"kernel": jnp.ones((2, 2), jnp.float16)}, "scores": {}})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["soft_movement", "magnitude", None])
def test_other_collections_pass_untouched_and_outside_the_clip_norm(name):
    pruning = None if name is None else Pruning(make_rule(name))
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, final_lambda=1.0)
    tx = make_optimizer(config, pruning, 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    scores = {} if pruning is None else pruning.init_scores(params)
    results = []
    for others in ({}, OTHERS):
        variables = {"params": params, "scores": scores, **others}
        state = tx.init(variables)
        grads = jax.tree.map(jnp.ones_like, variables)
        updates, state = tx.update(grads, state, variables)
        clip = find_state(state, ClipState)
        assert clip is not None
        results.append((optax.apply_updates(variables, updates), float(clip.norm)))
    (alone, norm), (together, same_norm) = results
    assert norm == same_norm == pytest.approx(10**0.5 if scores else 6**0.5, rel=0.1)
    np.testing.assert_array_equal(together.pop("batch_stats")["norm"]["mean"], 7.0)
    jax.tree.map(np.testing.assert_array_equal, together, alone)


def test_a_penalty_and_a_freeze_keep_other_collections():
    variables = {"params": {"kernel": jnp.ones(2)}, "scores": {"kernel": jnp.ones(2)}, **OTHERS}
    tx = add_score_penalty(lambda s: jnp.sum(s["kernel"]), lambda t: 2.0)
    updates, _ = tx.update(variables, tx.init(variables), variables)
    assert updates["scores"]["kernel"].tolist() == [3.0, 3.0]
    np.testing.assert_array_equal(updates["batch_stats"]["norm"]["mean"], 7.0)
    held, _ = freeze_params(lambda path: False).update(variables, optax.EmptyState())
    np.testing.assert_array_equal(held["batch_stats"]["norm"]["mean"], 0.0)
    np.testing.assert_array_equal(held["params"]["kernel"], 1.0)
