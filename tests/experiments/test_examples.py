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


def test_a_vision_transformer_is_pruned_by_weights_and_by_heads(capsys):
    results = by_name(vit.main(["--steps", "60", "--density", str(DENSITY)]))
    asked = {"movement": DENSITY, "movement, 2:4": 0.5}
    for name, density in asked.items():
        assert results[name][0] > 0.3, name
        assert results[name][1] == pytest.approx(density, abs=EXACT), name
    assert results["heads and units"][1] == pytest.approx(0.25, abs=0.01)


def test_a_language_model_learns_from_a_text_and_keeps_what_was_asked(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and looked at the dog. " * 300)
    results = by_name(gpt2.main(["--text", str(text), "--steps", "40", "--density", str(DENSITY)]))
    for name in ("dense", "magnitude", "movement"):
        assert results[name][0] < 3, name  # byte frequencies alone: 3.7
    assert results["movement"][1] == pytest.approx(DENSITY, abs=EXACT)
    assert results["magnitude"][1] == pytest.approx(DENSITY, abs=EXACT)


def test_a_text_that_is_too_short_is_refused(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("short")
    with pytest.raises(SystemExit):
        gpt2.main(["--text", str(text)])
    assert "has 5 bytes; give at least 6400" in capsys.readouterr().err


@pytest.fixture
def forgotten(monkeypatch):
    """Forgets after the test what the plugin has registered."""
    monkeypatch.setattr(plugins, "_REGISTRY", plugins._Registry())
    registered = [RULES, tasks._REGISTERED, structure._REGISTERED]
    before = [dict(names) for names in registered]
    yield
    for names, old in zip(registered, before, strict=True):
        names.clear()
        names.update(old)
    sys.modules.pop(own.PLUGIN, None)


def test_parts_of_ones_own_learn(forgotten, tmp_path, capsys):
    results = by_name(own.main(["--output", str(tmp_path), "--density", str(DENSITY)]))
    assert results["dense"][0] > 0.7  # chance is 0.5
    assert results["own"][0] > 0.6
    assert results["own"][1] == pytest.approx(DENSITY, abs=0.005)


def test_parts_of_ones_own_train_by_name(forgotten, tmp_path, capsys):
    given = ["--output", str(tmp_path), "--steps", "20", "--density", str(DENSITY)]
    results = by_name(own.main(given))  # too short to learn: its rule and structure cut
    assert results["own"][1] == pytest.approx(DENSITY, abs=0.005)
