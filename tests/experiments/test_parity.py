"""The golden runner, on a case recorded here and on the recorded PyTorch runs where they are."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import parity

GOLDENS = os.environ.get("MPJAX_TEST_GOLDENS")


@pytest.mark.skipif(not GOLDENS, reason="MPJAX_TEST_GOLDENS names no folder of recorded runs")
@pytest.mark.parametrize("name", ["cls-l0", "cls-movement-topk-global", "qa-soft-movement-distil"])
def test_recorded_pytorch_runs(name, x64):
    case = parity.load_case(Path(str(GOLDENS)) / f"{name}.json")
    worst = parity.replay(case)
    assert parity.passes(worst), worst


def test_a_difference_is_seen():
    """Every column can fail a run: a number beyond 1e-9, a single mask entry, a NaN."""
    good = dict.fromkeys(parity.COLUMNS, 0.0)
    assert parity.passes(good)
    for column in parity.COLUMNS:
        assert not parity.passes({**good, column: 1.0 if column == "masks" else 1e-8})
        assert not parity.passes({**good, column: float("inf")})


def test_bad_cases_are_refused(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 2
    assert "no NAME.json in this folder" in capsys.readouterr().err
    (tmp_path / "x.json").write_text("{}")
    assert parity.main([str(tmp_path / "x.json")]) == 2
    assert "x.npz: no such file" in capsys.readouterr().err
    np.savez(tmp_path / "x.npz", a=np.zeros(1))
    assert parity.main([str(tmp_path)]) == 2
    assert "no key" in capsys.readouterr().err


def test_published_global_cut_is_the_kth_smallest():
    scores = {"a": np.arange(10.0), "b": np.arange(10.0) + 10}
    assert parity.published_cut(scores, 1.0) == -100.0
    cut = parity.published_cut(scores, 0.25)
    assert sum(int((s > cut).sum()) for s in scores.values()) == int(0.25 * 20) + 1


@pytest.mark.parametrize("every", [1, 3])
def test_rules_of_published_names(every):
    settings = {
        "initial_threshold": 1.0, "final_threshold": 0.2, "regularization": None,
        "global_topk_frequency": every, "method": "threshold",
    }  # fmt: skip
    rule = parity.case_rule(settings)
    if every == 1:
        assert rule.name == "movement" and rule.scope == "global"
    else:
        masks = rule.masks({}, {"a": jax.numpy.arange(10.0)}, 4.5)
        assert int(masks["a"].sum()) == 5
