"""`Pruning` refuses scores that do not fit; densities that are traced; rules as a catalogue."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from mpjax.errors import InputError
from mpjax.pruning import (
    RULES,
    Block,
    NofM,
    Part,
    Pruning,
    Structure,
    TracedDensity,
    flatten,
    make_rule,
    rules,
    select,
    unflatten,
)

PARAMS = {
    "a": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)},
    "b": {"kernel": jnp.ones((6, 2))},
}
PRUNING = Pruning(make_rule("movement", final=0.5), ".*/kernel")
BLOCKS = Pruning(PRUNING.rule, PRUNING.where, Structure((Part("a/.*", Block(2, 3)),)))
SCORES = PRUNING.init_scores(PARAMS)


def but(path: str, leaf) -> dict:
    """The scores that fit, but for one leaf."""
    return unflatten(flatten(SCORES) | {path: leaf})


REFUSED = {
    "missing": (PRUNING, {}, ["a/kernel", "empty", "expected shape (4, 6)", "init_scores"]),
    "partial": (
        PRUNING, select(SCORES, "a/.*"), ["no b/kernel", "they have a/kernel", "shape (6, 2)"],
    ),
    "transposed": (
        PRUNING,
        but("b/kernel", jnp.zeros((2, 6))),
        ["b/kernel", "shape (2, 6)", "expected (6, 2)", "transposed"],
    ),
    "dtype": (
        PRUNING,
        but("a/kernel", jnp.zeros((4, 6), jnp.bfloat16)),
        ["a/kernel", "dtype bfloat16", "expected float32"],
    ),
    "shape": (
        PRUNING, but("a/kernel", jnp.zeros((4, 5))), ["a/kernel", "shape (4, 5)", "expected (4, 6)"]
    ),
    "extra": (
        PRUNING,
        but("a/bias", jnp.zeros(6)),
        ["a/bias", "shape (6,)", "expected a/kernel, b/kernel"],
    ),
    "no scores in magnitude": (
        Pruning(make_rule("magnitude"), ".*/kernel"),
        SCORES,
        ["a/kernel", "shape (4, 6)", "expected no scores"],
    ),
    "one per weight instead of block": (
        BLOCKS, SCORES, ["a/kernel", "shape (4, 6)", "expected (2, 2)"]
    ),
    "one per block instead of weight": (
        PRUNING, BLOCKS.init_scores(PARAMS), ["a/kernel", "shape (2, 2)", "expected (4, 6)"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_scores_that_do_not_fit_are_refused(case):
    pruning, scores, words = REFUSED[case]
    calls = (
        lambda: pruning.prune(PARAMS, scores, 0.5),
        lambda: jax.jit(lambda s: pruning.prune(PARAMS, s, 0.5))(scores),
        lambda: pruning.finalize({"params": PARAMS, "scores": scores}, 0.5),
    )
    for call in calls:
        with pytest.raises(InputError) as error:
            call()
        for word in words:
            assert word in str(error.value)
        assert str(error.value).count("\n") == 0


@pytest.mark.slow
def test_scores_of_any_mapping_and_of_numpy_fit():
    expected = PRUNING.prune(PARAMS, SCORES, 0.5)
    nested = {name: freeze(branch) for name, branch in SCORES.items()}
    for scores in (freeze(SCORES), nested, jax.tree.map(np.asarray, SCORES)):
        found = PRUNING.prune(PARAMS, scores, 0.5)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    gates = Pruning(make_rule("l0"), PRUNING.where)
    noise = freeze(gates.sample_noise(jax.random.key(0), SCORES))
    jax.tree.map(
        np.testing.assert_array_equal,
        gates.prune(PARAMS, SCORES, 1.0, noise),
        gates.prune(PARAMS, freeze(SCORES), 1.0, dict(noise)),
    )


def test_kernels_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"no parameter path matches 'kernels'.*a/bias"):
        Pruning(PRUNING.rule, "kernels").init_scores(PARAMS)


@pytest.mark.slow
def test_finalize_leaves_no_negative_zero_and_nothing_else_changed():
    params = jax.tree.map(lambda w: -w, PARAMS)
    final = PRUNING.finalize({"params": params, "scores": SCORES}, 0.5)
    zeros = np.asarray(final["a"]["kernel"]) == 0
    assert zeros.sum() == 12 and not np.signbit(final["a"]["kernel"])[zeros].any()
    np.testing.assert_array_equal(final["a"]["bias"], -1.0)


def test_finalize_prunes_numbers_that_are_not_finite():
    params = {"kernel": jnp.array([[1.0, -jnp.inf], [jnp.nan, 3.0]])}
    pruning = Pruning(make_rule("movement", final=0.5), "kernel")
    scores = {"kernel": jnp.array([[1.0, 0.0], [0.0, 1.0]])}
    final = pruning.finalize({"params": params, "scores": scores}, 0.5)
    np.testing.assert_array_equal(final["kernel"], [[1, 0], [0, 3]])


def test_marks_that_are_no_marks_are_refused():
    kept = {"kernel": jnp.full((2, 2), 0.3)}
    with pytest.raises(InputError, match="kept has float32 for kernel, expected bool"):
        Pruning(make_rule("magnitude")).prune({"kernel": jnp.ones((2, 2))}, {}, 0.5, kept=kept)


def test_float64_arrays_of_numpy_have_the_scores_that_were_made_for_them():
    params = {"kernel": np.arange(1.0, 9.0).reshape(2, 4)}
    pruning = Pruning(make_rule("movement"), "kernel")
    pruned, _ = pruning.prune(params, pruning.init_scores(params, init="magnitude"), 0.25)
    np.testing.assert_array_equal(pruned["kernel"], [[0, 0, 0, 0], [0, 0, 7, 8]])


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_kernel_without_entries_beside_others(shape, scope):
    params = {"a": {"kernel": jnp.eye(4)}, "b": {"kernel": jnp.ones(shape)}}
    pruning = Pruning(make_rule("magnitude", final=0.25, scope=scope), ".*/kernel")
    assert jax.tree.leaves(pruning.covers(params)) == [1, 1]
    final, masks = pruning.finalize({"params": params}, 0.25), pruning.prune(params, {}, 0.25)[1]
    assert pruning.density(masks) == 0.25 and pruning.density_note(final) is None


def test_the_final_count_is_exact_where_float32_is_not():
    sizes = [n for n in range(1, 4000) if int(np.float32(0.29) * np.float32(n)) != int(0.29 * n)]
    assert len(sizes) > 10
    rule, exact = make_rule("movement"), {n: int(0.29 * n) for n in sizes}

    def counts(value, final):
        density = TracedDensity(value, final, exact)
        return jnp.stack([jnp.asarray(rule.num_kept(density, n)) for n in sizes])

    end = jnp.float32(0.29)
    assert jax.jit(counts)(end, end).tolist() == [int(0.29 * n) for n in sizes]
    assert jax.jit(counts)(jnp.float32(0.5), end).tolist() == [n // 2 for n in sizes]


@pytest.mark.parametrize("scope", ["local", "global"])
def test_masks_of_a_traced_final_density_have_the_exact_counts(scope):
    size = next(n for n in range(200, 4000) if int(np.float32(0.29) * n) != int(0.29 * n))
    params = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=size), jnp.float32)}
    pruning = Pruning(make_rule("movement", scope=scope), "kernel")  # its own final density is 0.1
    exact = {n: int(0.29 * n) for n in pruning.score_sizes(params)}

    @jax.jit
    def kept(final):
        density = TracedDensity(final, final, exact)
        return jnp.sum(pruning.prune(params, params, density)[1]["kernel"])

    assert int(kept(jnp.float32(0.29))) == int(0.29 * size)
    in_runs = Pruning(pruning.rule, "kernel", Structure((Part("kernel", NofM(1, 4)),)))
    params = {"kernel": jnp.arange(8.0)[:, None]}

    @jax.jit
    def runs(value, final):
        density = TracedDensity(value, final, {8: 2})
        return jnp.sum(in_runs.prune(params, params, density)[1]["kernel"])

    assert int(runs(jnp.float32(0.25), jnp.float32(0.25))) == 2
    assert int(runs(jnp.float32(0.75), jnp.float32(0.25))) == 6


def test_class_variables_are_no_options_of_a_rule():
    with pytest.raises(ValueError) as error:
        make_rule("movement", is_density=True)
    assert str(error.value) == (
        "movement has no option is_density; it has scope, initial, final, regularization, "
        "published_cut"
    )
    with pytest.raises(ValueError, match="no option has_scores, name; it has scope, initial"):
        make_rule("l0", name="mine", has_scores=False)


def test_every_file_of_the_catalogue_is_one_rule_of_its_name():
    files = {path.stem for path in Path(rules.__file__).parent.glob("*.py")}
    assert files - {"__init__", "base"} == RULES.keys()
    for name, rule in RULES.items():
        assert rule.name == name and rule.__module__ == f"mpjax.pruning.rules.{name}"
        assert rule.__doc__ and flatten(rule().init_scores(PARAMS)).keys() <= flatten(PARAMS).keys()


@pytest.mark.parametrize("threshold", [1.5, -0.1, float("nan"), np.float32(2.0)])
@pytest.mark.parametrize("name", ["magnitude", "movement", "soft_movement", "l0"])
def test_a_threshold_out_of_range_is_refused(name, threshold):
    pruning = Pruning(make_rule(name))
    params = {"kernel": jnp.ones((4, 4))}
    scores = pruning.init_scores(params)
    for call in (pruning.prune, pruning.keep):
        with pytest.raises(InputError, match=f"the threshold is .*; {name} takes"):
            call(params, scores, threshold)


def test_a_density_of_zero_is_refused_and_a_tau_of_zero_is_not():
    params = {"kernel": jnp.ones((4, 4))}
    with pytest.raises(InputError, match="the threshold is 0; magnitude takes a density"):
        Pruning(make_rule("magnitude")).prune(params, {}, 0.0)
    soft = Pruning(make_rule("soft_movement"))
    soft.prune(params, soft.init_scores(params), 0)
    with pytest.raises(InputError, match=r"the threshold is the text .*; give a number"):
        soft.prune(params, soft.init_scores(params), "0.1")
    with pytest.raises(ValueError, match="floor is nan"):
        make_rule("soft_movement", floor=float("nan"))


def test_scores_by_size_of_a_matrix_of_zeros_are_zeros():
    params = {"a": {"kernel": jnp.zeros((2, 2))}, "b": {"kernel": jnp.full((2, 2), 3.0)}}
    scores = Pruning(make_rule("movement")).init_scores(params, init="magnitude")
    np.testing.assert_array_equal(scores["a"]["kernel"], np.zeros((2, 2)))
    np.testing.assert_array_equal(scores["b"]["kernel"], np.ones((2, 2)))


def test_the_threshold_of_a_rule_with_a_density_is_one():
    pruning = Pruning(make_rule("soft_movement", density=0.1))
    params = {"kernel": jnp.arange(1.0, 11.0)[:, None]}
    scores = pruning.init_scores(params)
    _, masks = pruning.prune(params, scores, 1.0)
    assert pruning.density(masks) == 1
    with pytest.raises(InputError, match="the threshold is 0; soft_movement takes a density"):
        pruning.prune(params, scores, 0.0)
    l0 = Pruning(make_rule("l0", steered=True, scope="global"))
    shut = jax.tree.map(lambda score: score - 50, l0.init_scores(params))
    assert l0.density(l0.prune(params, shut, 1.0)[1]) == 1


def test_a_density_of_half_precision_counts_as_a_float32_does():
    params = {"kernel": jnp.arange(1.0, 200_001.0).reshape(400, 500)}
    pruning = Pruning(make_rule("magnitude", final=0.1))
    _, masks = pruning.prune(params, {}, jnp.float16(0.5))
    assert pruning.density(masks) == 0.5


def test_one_cut_ranks_kernels_of_32_and_64_bits(x64):
    values = np.random.default_rng(0).permutation(200) + 1.0
    for kinds in ((jnp.float32, jnp.float64), (jnp.float64, jnp.float32)):
        params = {
            name: jnp.asarray(part.reshape(10, 10), kind)
            for name, part, kind in zip("ab", np.split(values, 2), kinds, strict=True)
        }
        pruning = Pruning(make_rule("magnitude", final=0.3, scope="global"), where="a|b")
        _, masks = pruning.prune(params, {}, 0.3)
        for name in params:
            np.testing.assert_array_equal(masks[name], np.asarray(params[name]) > 140)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pruning("movement"), "rule is 'movement'; make one"),  # pyright: ignore
        (lambda: Pruning(make_rule("movement"), structure="2:4"), "structure is '2:4'; give"),
        (lambda: Structure(Part(".*", NofM(2, 4))), "parts are Part"),
    ],
)
def test_values_of_other_types_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()
