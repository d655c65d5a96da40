"""The PyTorch trainer beside ours: same batches, same start, same numbers."""

import json

import jax
import pytest
import tiny

pytest.importorskip("torch")

from experiments.bench.__main__ import main as bench
from experiments.torch_compare.__main__ import main
from experiments.torch_compare.compare import Pair, compare, summarize
from experiments.torch_compare.numerics import Numerics
from mpjax.config.resolve import resolve

pytestmark = pytest.mark.slow
DOUBLE = Numerics("float64", dropout=False)
RUNS = {
    "dense": {"method": "dense", "density": None},
    "magnitude": {"method": "magnitude"},
    "movement": {},
    "movement global": {"scope": "global"},
    "movement l1": {"regularization": "l1", "final_lambda": 50.0},
    "soft_movement": {
        "method": "soft_movement", "density": None, "final_lambda": 100.0,
        "score_learning_rate": 0.5,
    },
    "l0": {"method": "l0", "density": None, "final_lambda": 1.0},
    "movement block": {
        "structure": "block:8x4", "steps": 32, "warmup": 3, "mask_init": "constant",
    },
    "soft_movement hybrid": {
        "method": "soft_movement", "density": None, "final_lambda": 30.0, "steps": 32, "warmup": 3,
        "structure": "attention=block:4x4,ffn=units", "lambda_attention": 0.5, "lambda_ffn": 2.0,
        "score_learning_rate": 0.5,
    },
    "questions": {
        "task": "demo_questions", "data": None, "limit_train": 60, "limit_eval": 8,
        "max_length": 32,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_two_trainers_agree_in_float64(name, root):
    # Adam divides tiny gradients by their size, so that a large rate would magnify rounding.
    options = {"steps": 14, "warmup": 2, "learning_rate": 1e-3} | RUNS[name]
    with jax.enable_x64(True):
        pair = Pair.prepare(resolve(tiny.config(root, **options)))
        until = options["steps"] - 2
        records = list(compare(pair, until, DOUBLE))
    summary = summarize(records)
    assert summary["steps"] == until
    assert summary["largest_loss_difference"] < 1e-8
    assert summary["mask_entries_differing"] == 0
    assert summary["largest_threshold_difference"] < 1e-12
    if name != "dense":
        last = [r for r in records if "step" in r][-1]
        assert last["torch_density"] == pytest.approx(last["jax_density"], abs=1e-6)
        assert last["jax_density"] < 0.99, "the comparison should reach the ramp"
    if name not in ("dense", "magnitude"):
        assert summary["largest_difference"] < 1e-8
        assert summary["correlation"] > 1 - 1e-12


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_with_dropout_the_scores_agree_as_two_seeds_do(root):
    """Not equal any more, and yet alike: only the noise differs. It is large: three seeds."""
    found = []
    for seed in range(3):
        pair = Pair.prepare(resolve(tiny.config(root, steps=30, learning_rate=1e-3, seed=seed)))
        [*_, last] = compare(pair, 30, Numerics())
        found.append(last["scores"]["correlation"])
    assert sum(found) / 3 > 0.5 and max(found) < 1 - 1e-6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_command_prints_a_summary_and_writes_json(root, tmp_path, capsys):
    words = tiny.command(root, output=None)[1:]
    file = tmp_path / "out.json"
    assert main([*words, "--until", "3", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert [r["step"] for r in written["records"] if "step" in r] == [1, 2, 3]
    assert written["config"]["density"] == 0.3 and written["versions"]["torch"]
    assert '"mask_entries_differing": 0' in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["dense", "movement", "soft_movement", "l0"])
def test_both_are_scored_folded_into_plain_parameters(name, root):
    """After equal steps the two have equal scores, and as few weights."""
    options = {"steps": 14, "warmup": 2, "learning_rate": 1e-3} | RUNS[name]
    with jax.enable_x64(True):
        pair = Pair.prepare(resolve(tiny.config(root, **options)))
        [*_, last] = compare(pair, 14, DOUBLE, score=True)
    ours, theirs = last["dev"]["jax"], last["dev"]["torch"]
    assert ours == theirs
    assert 0 <= ours["accuracy"] <= 100
    assert ours["linear_density"] == pytest.approx({"movement": 0.3}.get(name, 1.0), abs=0.01) or (
        name in ("soft_movement", "l0") and ours["linear_density"] < 1
    )


def test_the_benchmark_times_both_in_bfloat16(capsys, tmp_path):
    file = tmp_path / "bench.json"
    words = ["torch", "--model", "tiny", "--batch", "2", "--length", "8", "--rounds", "1",
             "--rules", "dense,movement", "--dtype", "bfloat16", "--peak-tflops", "0.001",
             "--give-back-memory", "--json", str(file)]  # fmt: skip
    assert bench(words) == 0
    found = json.loads(file.read_text())["result"]
    weights, attention = 2 * (4 * 64 * 64 + 2 * 64 * 128), 2 * 2 * 2 * 8 * 64  # of two layers
    assert found["flops"] == 3 * 2 * 8 * (2 * weights + attention)
    assert found["movement"]["ratio"] > 0 and len(found["dense"]["torch"]) == 1
    header, _, dense, movement = capsys.readouterr().out.splitlines()
    assert "bfloat16" in header and dense.startswith("dense") and movement.count("%") == 2


def test_mistakes_are_named(root, capsys):
    words = tiny.command(root, output=None, method="l0", final_lambda=1.0)[1:]
    assert main(words) == 2
    assert "published l0 only" in capsys.readouterr().err


def test_options_that_the_pytorch_side_lacks_are_refused(root, capsys):
    words = tiny.command(root, output=None, score_optimizer="platon", scope="global")[1:]
    assert main(words) == 2
    assert "the PyTorch trainer has no --score-optimizer" in capsys.readouterr().err
