"""The reliability runner: planted faults are classified, damage is seeded, kills are compared."""

import hashlib
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import planted
import pytest

from experiments.reliability import __main__ as commands
from experiments.reliability import kills, soak
from experiments.reliability.__main__ import main
from experiments.reliability.containers import spoil_npz, spoil_packed, spoil_safetensors
from experiments.reliability.flips import _named
from experiments.reliability.fuzz import _counts, fuzz, replay
from experiments.reliability.mutations import spoil_bytes, spoil_json, spoil_lines
from experiments.reliability.target import _clear
from experiments.reliability.targets import FLIPS, TARGETS
from experiments.reliability.variants import VARIANTS, Variant
from mpjax.errors import InputError

HERE = Path(__file__).parent
PLACE = "planted:TARGETS"


@pytest.fixture
def planted_path(monkeypatch):
    """Lets worker processes import this checkout and the planted targets."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE.parents[1]}{os.pathsep}{HERE}")


def test_planted_faults_are_classified_and_kept(tmp_path, planted_path):
    found = fuzz(tmp_path, 2 * len(planted.TARGETS), 0, [], 1, PLACE)
    for name, kind in planted.EXPECTED.items():
        assert found["targets"][name].get(kind) == 2, (name, found["targets"][name])
    assert found["inputs"] == 2 * len(planted.TARGETS)
    kept = sorted((tmp_path / "failures").glob("raises-*.json"))
    outcome = replay(kept[0], tmp_path, PLACE)
    assert (outcome.kind, outcome.file) == ("traceback", "a.txt")
    assert "KeyError in planted.py _raise" in outcome.message
    assert {f["target"] for f in found["failures"]} == {
        name for name, kind in planted.EXPECTED.items() if kind not in ("ok", "refused")
    }


def test_a_target_that_cannot_read_its_sound_files_is_said(tmp_path, planted_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))  # the worker finds no table
    with pytest.raises(InputError, match="target ok cannot read its own sound files"):
        fuzz(tmp_path, 1, 0, ["ok"], 1, PLACE)


@pytest.mark.parametrize("spoil", [spoil_bytes, spoil_json, spoil_lines])
def test_damage_depends_on_the_seed_alone(spoil):
    data = b'{"a": [1, {"b": "c"}], "d": 2.5, "e": "text"}'
    made = [spoil(random.Random(seed), data) for seed in range(40)]
    assert made == [spoil(random.Random(seed), data) for seed in range(40)]
    assert len(set(made)) > 20


def test_damage_inside_containers_keeps_their_checks(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors = len(header).to_bytes(8, "little") + header + bytes(4)
    body = b"MPJAXPK\x01" + _packed_header({"files": {}, "tensors": {}})
    file = body + hashlib.sha256(body).digest()
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    for seed in range(30):
        spoiled = spoil_safetensors(random.Random(seed), tensors)
        assert int.from_bytes(spoiled[:8], "little") == len(spoiled) - 12
        spoiled = spoil_packed(random.Random(seed), file)
        assert hashlib.sha256(spoiled[:-32]).digest() == spoiled[-32:]
        assert spoil_npz(random.Random(seed), (tmp_path / "a.npz").read_bytes())[:2] == b"PK"


def _packed_header(header) -> bytes:
    import zlib

    text = zlib.compress(json.dumps(header).encode())
    return len(text).to_bytes(8, "little") + text


# Each session appends a line every 20 ms to files that a sound one would write whole.
SCRIPT = """
import os, sys, time
from pathlib import Path
out = Path(sys.argv[1]); out.mkdir(exist_ok=True)
lines = ""
for i in range(8):
    (out / f"step-{i}").touch()
    time.sleep(0.02)
    lines += f"{i}\\n"
    if CAREFUL is False:
        (out / "metrics.jsonl").open("a").write(f"{i}\\n")
if CAREFUL:
    (out / ".part").write_text(lines)
    os.replace(out / ".part", out / "metrics.jsonl")
"""


@pytest.mark.parametrize("careful", [True, False])
def test_kills_are_counted_and_runs_that_differ_are_seen(tmp_path, careful):
    script = SCRIPT.replace("CAREFUL", str(careful))
    variant = Variant(make=lambda root, output: ["-c", script, str(output)])
    found = kills._one(variant, tmp_path, 4, random.Random(0))
    assert found["kills"] == 4 and not found["leftovers"]
    assert found["equal" if careful else "different"] == found["runs"] > 0
    assert not found["different" if careful else "equal"]


def test_a_kill_comes_at_the_new_file(tmp_path):
    script = SCRIPT.replace("CAREFUL", "True")
    output = tmp_path / "run"
    command = [sys.executable, "-c", script, str(output)]
    session = kills.run(command, output, dict(os.environ), kills.Moment(3, 60))
    assert session.status is None and session.names >= 3
    assert (output / "step-1").exists() and not (output / "metrics.jsonl").exists()


def test_leftovers_of_killed_writers_are_counted(tmp_path):
    for name in (".model.abcd", "3.orbax-checkpoint-tmp", ".lock", "model"):
        (tmp_path / name).mkdir()
    assert {p.name for p in kills.leftovers(tmp_path)} == {".model.abcd", "3.orbax-checkpoint-tmp"}


def test_flips_count_as_named_only_if_the_checkpoint_is(tmp_path):
    assert _named("mpjax: checkpoint 4 in x: a has other content than was written")
    assert not _named("mpjax: continuing x from step 4 of 6")
    assert not _named("mpjax: the file is damaged")


def test_memory_that_grows_is_a_failure(tmp_path, monkeypatch):
    steps, memory = iter(range(10, 1010, 10)), iter(range(1000, 2000))
    monkeypatch.setattr(soak, "_step", lambda path: next(steps))
    monkeypatch.setattr(soak, "_resident", lambda pid: 10**6 * next(memory))
    monkeypatch.setattr(soak, "_EVERY", 0.01)
    monkeypatch.setattr(soak.originals, "train_words", lambda *words: [])
    monkeypatch.setattr(soak.sys, "executable", "true")
    monkeypatch.setattr(soak.subprocess, "Popen", _Ending)
    found = soak.soak(tmp_path, 1000)
    assert found["failures"] == ["growth"] and found["last_mb"] > found["first_mb"]


def test_the_newest_step_is_that_of_the_last_whole_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert soak._step(path) == 0
    path.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert soak._step(path) == 20


class _Ending:
    """A process that runs for 100 polls."""

    pid, returncode = 1, 0

    def __init__(self, *args, **options) -> None:
        self.left = 100

    def poll(self):
        self.left -= 1
        return None if self.left >= 0 else 0


def test_mistakes_are_one_sentence(tmp_path, capsys):
    for words, said in (
        (["fuzz", "--only", "nothing"], "--only nothing: choose from"),
        (["fuzz", "--inputs", "-3"], "no count"),
        (["kills", "--variants", "x"], "--variants x: choose from"),
        (["replay", str(tmp_path / "none.json")], "none.json"),
        ([], "required: command"),
    ):
        assert main([*words, *(["--work", str(tmp_path)] if words[:1] == ["fuzz"] else [])]) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1


def test_a_part_measured_anew_replaces_its_own_numbers_only(tmp_path, monkeypatch, capsys):
    output, numbers = tmp_path / "found" / "a.json", iter(range(100))
    parts = dict.fromkeys(commands.MEASURES, lambda args, folder: {"number": next(numbers)})
    monkeypatch.setattr(commands, "MEASURES", parts)

    def measured(part: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["reliability", part])
        assert main([part, "--output", str(output), "--work", str(tmp_path / "work")]) == 0
        return json.loads(output.read_text())

    assert list(measured("soak")) == ["soak"]
    every = measured("all")
    assert [every[name]["number"] for name in parts] == [1, 2, 3, 4, 5]
    now = measured("flips")
    assert now["flips"]["number"] == 6 and list(now) == list(parts)
    assert {**now, "flips": every["flips"]} == every
    for name, part in now.items():
        made = part["provenance"]
        assert made["command"] == ["reliability", "flips" if name == "flips" else "all"]
        assert {"started", "commit", "versions", "hardware"} <= made.keys()
    output.write_text('{"fuzz": 1}')
    assert main(["save", "--output", str(output), "--work", str(tmp_path / "work")]) == 2
    assert "a.json holds something else than the parts fuzz, kills" in capsys.readouterr().err
    assert output.read_text() == '{"fuzz": 1}' and next(numbers) == 7  # nothing was measured


@pytest.mark.parametrize("inputs", [1, 1_000, 40_000])
def test_at_least_as_many_inputs_as_asked_for(inputs):
    counts = _counts(TARGETS, inputs)
    assert min(counts.values()) >= 1 and counts.keys() == TARGETS.keys()
    assert inputs <= sum(counts.values()) <= inputs + len(TARGETS)


def test_tables_cover_what_is_promised():
    promised = "glue squad predictions config safetensors packed packed-crafted run-records caches"
    assert {*promised.split(), "checkpoints", "golden", "commands"} <= TARGETS.keys()
    assert all(TARGETS[name].guarded for name in ("packed", "checkpoints", "caches"))
    assert FLIPS["continued"].guarded
    trained = "magnitude movement soft_movement l0 steered gmp smp platon sensitivity hybrid sweep"
    ways = "accumulation dropout distillation single-length devices quickstart"
    assert {*trained.split(), *ways.split()} <= VARIANTS.keys()


@pytest.mark.slow
def test_every_target_reads_its_sound_files_and_refuses_damaged_ones(tmp_path):
    found = fuzz(tmp_path, 200, 0, [], 1)
    bad = [one for one in found["failures"] if one["kind"] in ("hang", "silent", "memory", "died")]
    assert not bad, bad
    assert found["outcomes"]["refused"] > 50


@pytest.mark.parametrize(
    ("message", "clear"),
    [
        ("--seed is -1; it must be at least 0", True),
        ("xx...xx cannot be written: the name is too long; choose a shorter one", True),
        ("no model could be written", False),
        ("cannot be written", False),
        ("--data a\u2028b is odd", False),
        ("--data " + "a " * 400, False),
    ],
)
def test_a_clear_message_is_one_short_line_that_names_its_place(message, clear, tmp_path):
    assert _clear(message, tmp_path) is clear
