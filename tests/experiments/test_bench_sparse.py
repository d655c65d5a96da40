"""The benchmark of random zeros in CSR: its masks, its ratios, and a run on a tiny model."""

import numpy as np
import pytest

from mpjax import models
from mpjax.pruning import flatten, linear_density

pytest.importorskip("torch")
from experiments.bench import sparse

TINY = models.BertConfig(
    vocab_size=31,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=16,
)


def test_uneven_masks_leave_as_many_weights_as_even_ones():
    model = models.new_model(TINY, "classification")

    def shares(uneven):
        masked = sparse._zeros(model, 0.1, uneven)
        flat = {p: np.asarray(x) for p, x in flatten(masked.params).items() if "layer_" in p}
        kernels = [x for p, x in flat.items() if p.endswith("kernel")]
        total = linear_density(masked.params, models.PRUNABLE)
        return total, [(x != 0).mean() for x in kernels]

    (even, level), (total, spread) = shares(False), shares(True)
    assert abs(even - 0.1) < 0.01 and abs(total - 0.1) < 0.04
    assert max(spread) - min(spread) > 3 * (max(level) - min(level))


def test_ratios_are_to_the_faster_dense_form_round_by_round():
    samples = {
        "dense, jax": [4.0, 8.0, 4.0],
        "dense, torch": [9.0, 5.0, 9.0],
        "CSR": [2.0, 2.0, 1.0],
    }
    numbers = sparse._numbers("CSR", samples)
    assert numbers["ratio"] == 4.0 and (numbers["least"], numbers["most"]) == (2.0, 4.0)
    assert numbers["median"] == 2.0


def test_a_tiny_model_is_timed_in_every_form(capsys):
    result = sparse.run(sparse.Setting(TINY, [2], 8, [0.05], 1))
    printed = capsys.readouterr().out
    numbers = result["2 x 8"]
    assert {*sparse.DENSE, *sparse.OTHERS, "CSR, 5%", "CSR, 5%, uneven"} < numbers.keys()
    assert all(name in printed and n["median"] > 0 for name, n in numbers.items())
    assert numbers["dense, torch"]["largest_difference"] < 1e-5
    assert 1e-5 < numbers["int8, torch"]["largest_difference"] < 0.1
    assert "of 12 encoder matrices in CSR" in result["forms"]["CSR, 5%"]
