"""Runs that differ in the seed: what they have in common is counted, other recipes are refused."""

import json

import numpy as np
import pytest
import tiny

from experiments import seeds
from mpjax import models
from mpjax.pruning import flatten, select
from mpjax.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two seeds of one recipe, of another recipe, and of a dense run."""
    root = tmp_path_factory.mktemp("seeds")
    changes = {
        "zero": {"seed": 0}, "one": {"seed": 1}, "sparser": {"density": 0.2},
        "dense": {"method": "dense", "density": None},
    }  # fmt: skip
    for name, change in changes.items():
        train(tiny.config(root, output=str(root / name), steps=10, mask_init="constant", **change))
    return {name: str(root / name) for name in changes}


def weights(folder):
    params = models.load_model(folder + "/model", "classification").params
    return np.concatenate([k.ravel() for k in flatten(select(params, models.PRUNABLE)).values()])


def test_two_seeds_share_what_their_files_share(runs, capsys):
    assert seeds.main([runs["zero"], runs["one"], runs["zero"]]) == 0
    pairs = json.loads(capsys.readouterr().out)
    assert [pair["seeds"] for pair in pairs] == [[0, 1], [0, 0], [1, 0]]
    zero, one = (weights(runs[name]) != 0 for name in ("zero", "one"))
    both = np.sum(zero & one)
    assert pairs[0]["kept_by_both"] == [both / np.sum(zero), both / np.sum(one)]
    assert pairs[0]["mask_entries_differing"] == np.sum(zero != one) > 0
    assert -0.99 < pairs[0]["correlation"] < 0.99
    assert pairs[1]["mask_entries_differing"] == pairs[1]["largest_difference"] == 0
    assert pairs[1]["correlation"] == pytest.approx(1)


def test_runs_without_scores_have_weights_in_common_only(runs, capsys):
    assert seeds.main([runs["dense"], runs["dense"]]) == 0
    (pair,) = json.loads(capsys.readouterr().out)
    assert pair["kept_by_both"] == [1, 1] and "correlation" not in pair


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["zero"], "one run cannot be compared; give two or more"),
        (["zero", "sparser"], "runs of different recipes: density 0.3 and 0.2"),
        (["zero", "nowhere"], "nowhere is no finished run of mpjax train"),
    ],
)
def test_what_cannot_be_compared_is_said(names, message, runs, capsys):
    assert seeds.main([runs.get(name, name) for name in names]) == 2
    assert message in capsys.readouterr().err
