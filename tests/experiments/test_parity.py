"""The golden runner, on a case recorded here and on the recorded PyTorch runs where they are."""

import json
import os
import random
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parity.__main__ import main
from experiments.parity.case import load_case
from experiments.parity.replay import COLUMNS, passes, prepared, replay
from experiments.parity.rules import case_rule, published_cut
from experiments.reliability.containers import spoil_npz
from experiments.reliability.mutations import spoil_bytes, spoil_json
from experiments.reliability.originals import recorded_case
from mpjax.errors import InputError
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


@pytest.fixture
def case(tmp_path):
    return recorded_case(tmp_path)


def test_a_sound_case_is_replayed_and_its_differences_written(case, tmp_path, capsys):
    output = tmp_path / "differences.json"
    assert main([str(case), "--json", str(output)]) == 1  # its numbers are random
    assert "FAIL" in capsys.readouterr().out
    assert json.loads(output.read_text())["case"]["passes"] is False


@pytest.mark.parametrize("spoiler", [spoil_json, spoil_npz, spoil_bytes])
def test_mutated_cases_end_in_one_sentence(case, tmp_path, x64, spoiler):
    """Every mutation either leaves a case that fits itself, or is refused by the file's name."""
    sound = {path: path.read_bytes() for path in (case, case.with_suffix(".npz"))}
    targets = {spoil_json: [case], spoil_npz: [case.with_suffix(".npz")]}.get(spoiler, [*sound])
    refused = 0
    for seed in range(150):
        rng = random.Random(seed)
        path = rng.choice(targets)
        path.write_bytes(spoiler(rng, sound[path]))
        try:
            prepared(load_case(case))
        except InputError as error:
            refused += 1
            message = str(error)
            assert message.startswith(str(tmp_path / "case.")), message
            assert len(message) < 600 and message.isprintable(), message
        path.write_bytes(sound[path])
    assert refused > 50


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"num_layers": 10**12}, "num_layers is 1000000000000; it must be a whole number"),
        ({"num_layers": 10**9}, "num_layers is 1000000000, and no array is of such a size"),
        ({"hidden_size": True}, "hidden_size is True; it must be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a number"),
        ({"method": ["topK"]}, "method is ['topK']; it must be one of magnitude"),
        ({"distillation": {"temperature": 0}}, "distillation temperature is 0; it must be"),
        ({"distillation": [2]}, "an object is expected where [2] is"),
        ({"log": []}, "log must be a list of 1 to 2 records"),
        ({"log": [{"step": 0}]}, "no key threshold in log record 0"),
        ({"warmup_steps": 2}, "warmup_steps = (1 + 0.5) * 2"),
        ({"final_threshold": -1.0}, "final density is -1.0, not in (0, 1]"),
        ({"method": "threshold", "final_threshold": 5}, "final density is 5, not in (0, 1]"),
        ({"num_heads": 3}, "json: hidden_size 8 is no multiple of num_heads 3"),
        ({"num_labels": 4}, "classifier.bias has shape (3,), the settings ask for (4,)"),
        ({"head": "qa"}, "no array"),
        ({"method": "magnitude"}, "mask_scores' has no place in the run"),
        ({"vocab_size": 10}, "input_ids must hold whole numbers from 0 to 9"),
    ],
)
def test_settings_that_fit_nothing_are_named(case, x64, changes, said):
    case.write_text(json.dumps(json.loads(case.read_text()) | changes))
    with pytest.raises(InputError) as refused:
        prepared(load_case(case))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "name", ["batch/1/labels", "final/classifier.bias", "init/bert.embeddings.LayerNorm.weight"]
)
def test_a_missing_array_is_named_before_the_replay(case, x64, name):
    path = case.with_suffix(".npz")
    with np.load(path) as arrays:
        kept = {key: array for key, array in arrays.items() if key != name}
    np.savez(path, **kept)
    with pytest.raises(InputError, match=f"case.npz has no array '{name}'"):
        prepared(load_case(case))


def test_an_array_that_claims_more_than_its_bytes_is_refused_unread(case, tmp_path):
    path = case.with_suffix(".npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name, content = next(iter(members.items()))
    short, long = b"'shape': (", b"'shape': (1000000000000, "
    members[name] = content.replace(short, long, 1).replace(b" " * (len(long) - len(short)), b"", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for member, bytes_ in members.items():
            archive.writestr(member, bytes_)
    with pytest.raises(InputError, match=r"claims \(1000000000000, "):
        load_case(case)


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
