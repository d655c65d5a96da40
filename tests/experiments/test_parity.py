"""The golden runner, on a case recorded here and on the recorded PyTorch runs where they are."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.__main__ import main
from experiments.parity.case import load_case
from experiments.parity.replay import COLUMNS, passes, replay
from experiments.parity.rules import case_rule, published_cut
from mpjax.pruning import Pruning

GOLDENS = os.environ.get("MPJAX_TEST_GOLDENS")


@pytest.mark.slow
@pytest.mark.skipif(not GOLDENS, reason="MPJAX_TEST_GOLDENS names no folder of recorded runs")
@pytest.mark.parametrize("name", ["cls-l0", "cls-movement-topk-global", "qa-soft-movement-distil"])
def test_recorded_pytorch_runs(name, x64):
    case = load_case(Path(str(GOLDENS)) / f"{name}.json")
    worst = replay(case)
    assert passes(worst), worst


def test_a_difference_is_seen():
    """Every column can fail a run: a number beyond 1e-9, a single mask entry, a NaN."""
    good = dict.fromkeys(COLUMNS, 0.0)
    assert passes(good)
    for column in COLUMNS:
        assert not passes({**good, column: 1.0 if column == "masks" else 1e-8})
        assert not passes({**good, column: float("inf")})


def test_bad_cases_are_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no NAME.json in this folder" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("{}")
    assert main([str(tmp_path / "x.json")]) == 2
    assert "x.npz: no such file" in capsys.readouterr().err
    np.savez(tmp_path / "x.npz", a=np.zeros(1))
    assert main([str(tmp_path)]) == 2
    assert "no key" in capsys.readouterr().err


def test_published_global_cut_is_the_kth_smallest():
    scores = {"a": np.arange(10.0), "b": np.arange(10.0) + 10}
    assert published_cut(scores, 1.0) == -100.0
    cut = published_cut(scores, 0.25)
    assert sum(int((s > cut).sum()) for s in scores.values()) == int(0.25 * 20) + 1


@pytest.mark.parametrize("every", [1, 3])
def test_rules_of_published_names(every):
    settings = {
        "initial_threshold": 1.0, "final_threshold": 0.2, "regularization": None,
        "global_topk_frequency": every, "method": "threshold",
    }  # fmt: skip
    rule = case_rule(settings)
    if every == 1:
        assert rule.name == "movement" and rule.scope == "global"
    else:
        scores = {"a": {"kernel": jnp.arange(10.0)}}
        assert int(rule.masks({}, scores, 4.5)["a"]["kernel"].sum()) == 5
        _, masks = Pruning(rule, ".*kernel").prune(scores, scores, 4.5)
        assert masks["a"]["kernel"].tolist() == [False] * 5 + [True] * 5
