"""One cut of a run's weights: rows, numbers, refusals."""

import json

import numpy as np
import pytest
import tiny

from experiments.recipes import one_cut
from experiments.recipes.__main__ import main
from mpjax.training.train import train


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cut")
    late = {"steps": 6, "initial_warmup": 3.0, "checkpoint_every": 3}
    train(tiny.config(root, method="movement", density=0.5, **late))
    return root


def words(root, run):
    return ["cut", str(root / run), "--model", str(root / "model"), "--data", str(root / "data")]


def test_the_whole_model_stands_first_and_every_cut_after_it(root, capsys):
    assert main([*words(root, "run"), "--json"]) == 0
    cuts = json.loads(capsys.readouterr().out)
    assert (cuts[0]["share"], cuts[0]["energy"], cuts[0]["moved"]) == (0, 0, 0)
    assert len(cuts) == 1 + len(one_cut.SHARES) * 5
    by = {(c["share"], c["by"], c["part"]): c for c in cuts[1:]}
    for share in one_cut.SHARES:
        size, random = by[share, "size", 1], by[share, "random", 1]
        assert size["energy"] < random["energy"] and abs(random["energy"] - share) < share
    losses = {by[0.1, "scores", part]["loss"] for part in (0.1, 0.5, 1.0)}
    assert len(losses) == 3  # each part is a model of its own
    assert main(words(root, "run")) == 0
    header, _, first, *rest = capsys.readouterr().out.splitlines()
    assert header.startswith("weights cut") and len(rest) == len(cuts) - 1
    assert f"{cuts[0]['loss']:.3f}" in first


def test_cuts_that_are_not_possible_are_refused(root, capsys, monkeypatch):
    assert main(words(root, "model")) == 2
    assert "no run folder" in capsys.readouterr().err
    state = {"params": {"a": np.ones(2)}, "scores": {}}
    monkeypatch.setattr(one_cut, "read_latest", lambda folder: state)
    assert main(words(root, "run")) == 2
    assert "no scores of single weights" in capsys.readouterr().err


def test_the_lowest_of_every_matrix_are_chosen_by_their_scores():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(8, 10)), "b": 100 + rng.normal(size=(20, 4))}
    scores = {path: -w for path, w in weights.items()}
    cut = one_cut.chosen("scores", 0.25, weights, scores)
    assert [int(c.sum()) for c in cut.values()] == [20, 20]
    assert all(weights[p][c].min() > weights[p][~c].max() for p, c in cut.items())
