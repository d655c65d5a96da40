"""Every example runs: few steps, far above chance, at the density asked for."""

import sys

import pytest

pytest.importorskip("sklearn")  # the digits

from experiments.examples import digits, gpt2, nnx, own, vit
from mpjax import plugins, tasks
from mpjax.models import structure
from mpjax.pruning import RULES

DENSITY = 0.2
EXACT = 0.002  # a cut keeps whole weights


def by_name(results):
    return {name: (score, density) for name, score, density in results}


@pytest.mark.parametrize("example", [digits, nnx], ids=["digits", "nnx"])
def test_digits_are_recognised_by_a_fifth_of_the_weights(example, capsys):
    results = by_name(example.main(["--steps", "60", "--density", str(DENSITY)]))
    assert results.pop("dense")[1] > 0.99
    for name, (accuracy, density) in results.items():
        assert accuracy > 0.6, name  # chance is 0.1
        assert density == pytest.approx(DENSITY, abs=EXACT), name
    assert f"{DENSITY:.1%}" in capsys.readouterr().out
