"""Real packages of the trackers: what they have written after two sessions of a run."""

import importlib
import json
import sqlite3
import time

import pytest

from mpjax.trackers import Reports

RESULT = {"task": "sst2", "score": {"accuracy": 90.0}, "linear_density": 0.1, "steps": 3}
BLOCK, HEADER = 32768, 7  # of the files of wandb, which have the form of LevelDB's logs


def two_sessions(name, folder):
    """Steps 1 and 2; then 2 and 3, continued from a checkpoint of step 1, to the end."""
    folder.mkdir()
    with Reports((name,), folder, {"density": 0.1, "mesh": None}) as reports:
        reports.begin()
        reports.write(1, {"loss": 1.0})
        reports.write(2, {"loss": 0.5})
    with Reports((name,), folder, {"density": 0.1, "mesh": None}) as reports:
        reports.begin(lambda: [(1, {"loss": 1.0})])
        reports.write(2, {"loss": 0.5})
        reports.write(3, {"loss": 0.25, "eval/accuracy": 90.0})
        reports.result(RESULT)


def records(path):
    """Records of a file of wandb."""
    form = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        end = at + HEADER + int.from_bytes(data[at + 4 : at + 6], "little")
        whole += data[at + HEADER : end]
        if data[at + 6] in (1, 4):  # whole, or its last part
            record = form.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""
        at = end


def all_records(files):
    """Records of closed files; their process writes the last ones just after `finish` returns."""
    end = time.monotonic() + 20
    while True:
        each = [list(records(path)) for path in files]
        if all(found and found[-1].WhichOneof("record_type") == "exit" for found in each):
            return [record for found in each for record in found]
        assert time.monotonic() < end, "the files of wandb have no end"
        time.sleep(0.05)


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_writes_into_the_run_folder(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    two_sessions("wandb", tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert capfd.readouterr().out == ""
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    found = all_records(files)
    rows = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(row["_step"], row["loss"]) for row in rows] == [
        ("1", "1"),
        ("2", "0.5"),
        ("3", "0.25"),
    ]
    assert rows[2]["eval/accuracy"] == "90"
    runs = [record.run for record in found if record.run.run_id]
    noted = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert {run.run_id for run in runs} == {noted["id"]} and noted["wandb"] == 3
    assert {run.project for run in runs} == {"mpjax"} and runs[0].display_name == "run"
    assert {item.key: item.value_json for item in runs[0].config.update}["density"] == "0.1"
    assert any(u.key == "linear_density" for record in found for u in record.summary.update)


@pytest.mark.filterwarnings("ignore")
def test_trackio_writes_to_a_local_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    utils = importlib.import_module("trackio.utils")
    two_sessions("trackio", tmp_path / "run")
    assert capsys.readouterr().out == ""
    with sqlite3.connect(utils.TRACKIO_DIR / "mpjax.db") as base:
        noted = json.loads((tmp_path / "run" / "trackers.json").read_text())
        name = f"run-{noted['id']}"
        rows = [
            (step, json.loads(metrics))
            for step, metrics in base.execute(
                "select step, metrics from metrics where run_name = ? order by id", [name]
            )
        ]
    assert rows == [
        (1, {"loss": 1.0}),
        (2, {"loss": 0.5}),
        (3, {"loss": 0.25, "eval/accuracy": 90.0}),
        (3, {"result/linear_density": 0.1, "result/steps": 3}),
    ]
