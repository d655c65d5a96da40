"""Killed, damaged, crowded runs: the same command goes on to the same bytes, or says why not."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

import mpjax
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


def same(run: RunDir, whole: RunDir) -> bool:
    files = ("metrics.jsonl", "model/model.safetensors", "model/config.json")
    return all((run.path / f).read_bytes() == (whole.path / f).read_bytes() for f in files)


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
    assert same(broken, whole)
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
    assert "Continuing from step 2" in caplog.text and same(broken, whole)


@pytest.mark.slow
def test_a_damaged_result_is_made_again(root, whole, tmp_path, caplog):
    shutil.copytree(whole.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    garbage(run.result)
    result = start(root, run.path)
    assert "it is made again" in caplog.text and same(run, whole)
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
    assert same(RunDir(tmp_path / "run"), whole)


def test_a_folder_has_one_writer(root, tmp_path):
    (tmp_path / "run").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from mpjax.locks import one_writer\n"
         "with one_writer(sys.argv[1]): print('held', flush=True); time.sleep(60)",
         str(tmp_path / "run")],
        stdout=subprocess.PIPE, text=True, env=environment(),
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


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(mpjax.__file__).parents[1])}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_save_and_stop_and_the_second_stops_at_once(number, root, tmp_path):
    options = {"steps": 5000, "checkpoint_every": 5000, "log_every": 1}
    words = tiny.command(root, output=str(tmp_path / "run"), **options)
    command = [sys.executable, "-m", "mpjax", *words]
    for signals in (1, 2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
        lines = tmp_path / "run" / "metrics.jsonl"
        size = lines.stat().st_size if lines.exists() else 0
        until = time.monotonic() + 120
        while not (lines.exists() and lines.stat().st_size > size) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        if signals == 2:
            process.send_signal(signal.SIGUSR1 if number != signal.SIGUSR1 else signal.SIGTERM)
        _, notes = process.communicate(timeout=120)
        assert "stopping after this step" in notes or signals == 2
        if signals == 1:
            assert process.returncode == 128 + number and "stopped at step" in notes
            (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
        else:
            assert process.returncode > 128 and "stopped at once" in notes
            assert (saved / "record.json").exists()


KILLER = """
import os, signal, sys
last, folder, count = int(sys.argv[1]), sys.argv[2], 0
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "shutil.rmtree")

def hook(event, args):
    global count
    if event in EVENTS and args and folder in str(args[0]):
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
from mpjax.cli.main import main
status = main(sys.argv[3:])
print("events", count, file=sys.stderr)
sys.exit(status)
"""
KILLS = 12


@pytest.mark.slow
def test_a_run_killed_at_its_file_events_ends_in_the_same_bytes(root, tmp_path):
    def session(event: int, name: str) -> subprocess.CompletedProcess[str]:
        options = {"output": str(tmp_path / name), "cache": str(tmp_path / "cache"), **OPTIONS}
        words = [str(event), str(tmp_path / name), *tiny.command(root, **options)]
        return subprocess.run(
            [sys.executable, "-c", KILLER, *words],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip

    undisturbed = session(0, "whole")
    assert undisturbed.returncode == 0, undisturbed.stderr
    events = int(undisturbed.stderr.split()[-1])
    assert events > 50
    kills = 0
    while kills < KILLS:
        ended = session(1 + kills * events // KILLS, "run")
        kills += 1
        if ended.returncode == 0:  # fewer events were left
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert kills >= KILLS // 2
    assert session(0, "run").returncode == 0
    assert same(RunDir(tmp_path / "run"), RunDir(tmp_path / "whole"))
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]
