"""Growth of time and memory: points are measured, shown and drawn."""

import importlib.util
import json
import subprocess

import pytest

from experiments.growth import axes, show
from experiments.growth.__main__ import main
from mpjax.files import read_object
from mpjax.models import BertConfig

# Of the benchmark's sizes, so that little is compiled.
SMALLEST = dict.fromkeys(
    ("tiny", "small"),
    BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=128,
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("axis", "points"),
    [("members", (1, 3)), ("entries", (10**4, 10**5)), ("rows", (70,)), ("devices", (2,))],
)
def test_an_axis_is_measured(axis, points, capfd, monkeypatch):
    monkeypatch.setattr(axes, "SIZES", SMALLEST)
    axes.measured(axis, points, 1)
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["at"] for row in rows] == list(points)
    assert all(row["seconds"] > 0 and row["beside"] > 0 and row["bytes"] >= 0 for row in rows)
    assert show.table({axis: rows}).count("\n") == 1 + len(points)


def test_members_are_compared_with_as_many_runs(capfd, monkeypatch):
    monkeypatch.setattr(axes, "_alternate", lambda *_: {"seconds": 2.0, "beside": 1.0})
    monkeypatch.setattr(axes, "SIZES", SMALLEST)
    axes.measured("members", (3,), 1)
    row = json.loads(capfd.readouterr().out)
    assert (row["seconds"], row["beside"]) == (2.0, 3.0)


def test_a_point_without_room_is_left_out(capfd, monkeypatch):
    monkeypatch.setattr(axes, "available", lambda: 2 * 10**6)
    with pytest.raises(SystemExit) as ended:
        axes.measured("entries", (10**4, 10**6), 1)
    printed = capfd.readouterr()
    assert ended.value.code == axes.SHORT and json.loads(printed.out)["at"] == 10**4
    assert "entries: needs 0.0 GB more, and 0.0 GB are free" in printed.err


def test_a_step_has_run_before_the_next_is_held_against_the_memory(monkeypatch):
    order, compiled, timed = [], axes._compiled, axes.seconds
    monkeypatch.setattr(axes, "_compiled", lambda *a: order.append("compiled") or compiled(*a))
    monkeypatch.setattr(axes, "seconds", lambda call: order.append("run") or timed(call))
    monkeypatch.setattr(axes, "_alternate", lambda *_: {})
    axes._beside_dense(SMALLEST["tiny"], 2, 16, 1)
    assert order == ["compiled", "run"] * 2


@pytest.mark.parametrize(("status", "part"), [(1, "status 1"), (axes.SHORT, ""), (-9, "")])
def test_a_process_that_fails_is_told_from_one_without_room(status, part, capsys, monkeypatch):
    ended = subprocess.CompletedProcess([], status, b"")
    monkeypatch.setattr("experiments.growth.__main__.provenance", dict)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert main(["--axes", "entries"]) == (2 if part else 0)
    message = capsys.readouterr().err
    assert part in message and ("left out" in message) == (not part)


def test_steps_grow_with_rows(capfd, monkeypatch):
    monkeypatch.setattr(axes, "SIZES", SMALLEST)
    axes.measured("batch", (2, 8), 1)
    small, large = (json.loads(line)["bytes"] for line in capfd.readouterr().out.splitlines())
    assert small < large


def test_the_command_measures_in_a_process_of_its_own_and_shows_files(
    tmp_path, capsys, monkeypatch
):
    narrow = axes.Axis((10**4,), axes.AXES["entries"].measure, "top", "comparison")
    monkeypatch.setitem(axes.AXES, "entries", narrow)
    numbers = tmp_path / "growth.json"
    assert main(["--axes", "entries", "--rounds", "1", "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    found = read_object(numbers)
    assert [row["at"] for row in found["axes"]["entries"]] == [10**4]
    assert "10,000" in printed and found["provenance"]["rounds"] == 1
    assert main(["--from", str(numbers)]) == 0
    assert capsys.readouterr().out == printed
    if importlib.util.find_spec("matplotlib"):
        assert main(["--from", str(numbers), "--output", str(tmp_path / "growth.png")]) == 0
        assert (tmp_path / "growth.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--axes", "entries,lengths"], "--axes names lengths"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--from", "a.json", "--json", "b.json"], "drop one"),
        (["--from", "EMPTY"], "is no file that --json has written"),
        (["--output", "growth.gif"], "--output growth.gif: the suffix"),
    ],
)
def test_mistakes_are_refused_before_anything_is_measured(
    words, part, tmp_path, capsys, monkeypatch
):
    (tmp_path / "empty.json").write_text("{}")
    words = [str(tmp_path / "empty.json") if word == "EMPTY" else word for word in words]
    monkeypatch.setattr("experiments.growth.__main__._measure", pytest.fail)
    assert main(words) == 2
    assert part in capsys.readouterr().err
