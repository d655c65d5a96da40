"""A density that is missed is said, and why; one that is reached is not."""

import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.pruning import Block, NofM, Part, Pruning, Structure, make_rule

RNG = np.random.default_rng(0)
PARAMS = {
    name: {"kernel": jnp.asarray(RNG.normal(size=(12, 8)), jnp.float32)} for name in ("a", "b", "c")
}
COLUMNS = Part(".*", Block(None, 1))


def finished(pruning, params=PARAMS):
    return pruning.finalize({"params": params, "scores": {}}, pruning.rule.final)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("final", [0.01, 0.1, 0.29, 0.5, 1.0])
def test_whole_weights_reach_every_density(scope, final):
    pruning = Pruning(make_rule("magnitude", final=final, scope=scope))
    assert pruning.density_note(finished(pruning)) is None


def test_whole_columns_miss_most_densities():
    pruning = Pruning(make_rule("magnitude", final=0.2), structure=Structure((COLUMNS,)))
    note = pruning.density_note(finished(pruning))
    assert note == (
        "the density is 12.50%, where 20.00% was asked for: a score covers 12 weights, and is kept "
        "whole"
    )


def test_the_largest_score_is_named_where_they_differ():
    columns = Structure((Part("a/.*", Block(None, 1)),))
    pruning = Pruning(make_rule("magnitude", final=0.2), structure=columns)
    note = pruning.density_note(finished(pruning))
    assert (
        note is not None and "17.36%, where 20.00% was asked for: a score covers up to 12" in note
    )


def test_runs_have_their_own_density_and_a_mixture_says_so():
    both = Structure((Part("a/.*", NofM(2, 4)), Part("[bc]/.*", NofM(1, 4))))
    pruning = Pruning(make_rule("magnitude", final=0.5), structure=both)
    assert pruning.density_note(finished(pruning)) is None
    mixed = Pruning(
        make_rule("magnitude", final=0.25), structure=Structure((Part("a/.*", NofM(2, 4)),))
    )
    assert mixed.density_note(finished(mixed)) == (
        "the density is 33.33%, where 25.00% was asked for: it is that of the other matrices, and "
        "N:M keeps N of every M weights"
    )


def test_weights_that_were_zero_before_are_named():
    zeros = {"a": {"kernel": PARAMS["a"]["kernel"].at[:, 1:].set(0.0)}}
    pruning = Pruning(make_rule("magnitude", final=0.5))
    note = pruning.density_note(finished(pruning, zeros))
    assert note is not None and note.startswith("the density is 12.50%, where 50.00% was asked for")


def test_a_rule_without_a_density_asks_for_none():
    pruning = Pruning(make_rule("soft_movement"))
    assert pruning.density_note(PARAMS) is None


def test_l0_by_lambda_asks_for_none_and_a_floor_is_no_zero_weight():
    assert Pruning(make_rule("l0")).density_note({"kernel": jnp.eye(10)}) is None
    floored = Pruning(make_rule("magnitude", final=0.01))
    note = floored.density_note({"kernel": jnp.ones((10, 10))})
    assert note is not None and note.endswith("the rule keeps a least share of every matrix")
