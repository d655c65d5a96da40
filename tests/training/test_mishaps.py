"""Killed, damaged, crowded runs: the same command goes on to the same bytes, or says why not."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from mpjax.errors import InputError
from mpjax.locks import one_writer
from mpjax.runs import folder
from mpjax.runs.folder import RunDir
from mpjax.sweep import sweep as sweeping
from mpjax.training import train as training
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")
OPTIONS = {"checkpoint_every": 2, "eval_every": 2}


class Killed(BaseException):
    """The end of a process, as far as it can be had inside one."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def start(root, path, **changes):
    return train(tiny.config(root, **OPTIONS, **{"output": str(path)} | changes))


@pytest.fixture(scope="module")
def whole(root):
    start(root, root / "whole")
    return RunDir(root / "whole")


@pytest.fixture(scope="module")
def killed(root, whole):
    """Folder of a run that was killed at its fourth step."""
    run_steps = training.run_steps

    def four_steps(program, state, span, *rest):
        return run_steps(program, state, dataclasses.replace(span, total=4), *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "run_steps", four_steps)
        with pytest.raises(AssertionError, match="the last step evaluates"):
            start(root, root / "killed")
    return root / "killed"


@pytest.fixture
def broken(killed, tmp_path):
    """A copy of it, with checkpoints of the second and the fourth step."""
    run = RunDir(shutil.copytree(killed, tmp_path / "run"))
    assert not run.result.exists()
    assert {p.name for p in run.checkpoints.iterdir()} == {"2", "4"}
    return run


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff{]\n" * 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl", "provenance.json"])
@pytest.mark.parametrize("break_it", [damage, cut, garbage, Path.unlink])
def test_damaged_records_cost_nothing(name, break_it, broken, root, whole, caplog):
    break_it(broken.path / name)
    start(root, broken.path)
    assert tiny.same(broken.path, whole.path)
    sessions = json.loads(broken.provenance.read_text())["sessions"]
    assert sessions[-1]["from_step"] == 4
    if name == "provenance.json" and break_it in (cut, garbage):
        assert "provenance.json is damaged" in caplog.text
        assert (broken.path / "provenance.damaged.json").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(broken, root, whole, caplog):
    largest = max(broken.checkpoints.glob("4/state/**/*"), key=lambda p: p.stat().st_size)
    damage(largest)
    with pytest.raises(InputError, match=r"checkpoint 4 in .*Without --strict.* step 2"):
        start(root, broken.path, strict=True)
    start(root, broken.path)
    assert "Continuing from step 2" in caplog.text and tiny.same(broken.path, whole.path)


@pytest.mark.slow
def test_a_damaged_result_is_made_again(root, whole, tmp_path, caplog):
    shutil.copytree(whole.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    garbage(run.result)
    result = start(root, run.path)
    assert "it is made again" in caplog.text and tiny.same(run.path, whole.path)
    assert result["score"] == whole.read_result()["score"]


@pytest.mark.slow
def test_a_run_killed_before_its_config_begins_anew(root, whole, tmp_path, monkeypatch):
    def kill(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_json", kill)
        with pytest.raises(Killed):
            start(root, tmp_path / "run")
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / ".config.json.abcd").write_bytes(b"{")
    (tmp_path / "run" / ".lock").write_bytes(b"")
    start(root, tmp_path / "run")
    assert tiny.same(tmp_path / "run", whole.path)


def test_a_folder_has_one_writer(root, tmp_path):
    (tmp_path / "run").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from mpjax.locks import one_writer\n"
         "with one_writer(sys.argv[1]): print('held', flush=True); time.sleep(60)",
         str(tmp_path / "run")],
        stdout=subprocess.PIPE, text=True, env=tiny.environment(),
    )  # fmt: skip
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"is being written by process {holder.pid} on "):
            start(root, tmp_path / "run")
        assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]
    finally:
        holder.kill()
        holder.communicate()
    with one_writer(tmp_path / "run"):
        pass


@pytest.mark.slow
def test_a_sweep_killed_while_it_writes_results_trains_nothing_again(
    root, tmp_path, monkeypatch, caplog
):
    base = tiny.config(root, density=None, output=str(tmp_path / "sweep"), **OPTIONS)
    axes = {"density": (0.5, 0.3)}
    finish = sweeping.finish

    def once(job, run, params):
        if "0.3" in run.path.name:
            raise Killed
        return finish(job, run, params)

    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "finish", once)
        with pytest.raises(Killed):
            sweeping.sweep(base, axes, memory=1e9)
    done = tmp_path / "sweep" / "members" / "density-0.5"
    before = (done / "metrics.jsonl").read_bytes(), (done / "result.json").read_bytes()
    rows = sweeping.sweep(base, axes, memory=1e9)
    assert f"continuing 2 members from step {tiny.STEPS}" in caplog.text
    assert before == ((done / "metrics.jsonl").read_bytes(), (done / "result.json").read_bytes())
    assert [row["linear_density"] for row in rows] == pytest.approx([0.5, 0.3], abs=3e-3)
    assert not (tmp_path / "sweep" / "checkpoints").exists()


def test_a_run_waits_for_the_step_before_at_every_step(whole, root, tmp_path, monkeypatch):
    steps = []

    def wait(temporaries, state):
        steps.append((id(temporaries), int(state.step)))

    monkeypatch.setattr("mpjax.hostmemory.Temporaries.wait", wait)
    result = start(root, tmp_path / "run")
    assert [step for _, step in steps] == list(range(result["steps"]))
    assert len({owner for owner, _ in steps}) == 1
