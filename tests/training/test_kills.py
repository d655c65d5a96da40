"""Signals and kills of real processes: what is saved, and that the same command ends in one way."""

import signal
import subprocess
import sys
import time

import pytest
import tiny

OPTIONS = {"checkpoint_every": 2, "eval_every": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def begin(root, folder) -> subprocess.Popen[str]:
    """A long run that has just written another line of its log."""
    options = {"output": str(folder), "cache": str(root / "cache"), "steps": 5000}
    words = tiny.command(root, **options, checkpoint_every=5000)
    command = [sys.executable, "-m", "mpjax", *words]
    lines, until = folder / "metrics.jsonl", time.monotonic() + 120
    size = lines.stat().st_size if lines.exists() else 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=tiny.environment())
    while not (lines.exists() and lines.stat().st_size > size):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_and_stops(number, root, tmp_path):
    process = begin(root, tmp_path / "run")
    process.send_signal(number)
    _, notes = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "stopping after this step" in notes and "stopped at step" in notes
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert (saved / "record.json").exists()


@pytest.mark.slow
def test_the_second_signal_stops_at_once(root, tmp_path):
    process = begin(root, tmp_path / "run")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, notes = process.communicate(timeout=120)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert "stopped at once" in notes and "stopped at step" not in notes


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
        options = {"output": str(tmp_path / name), "cache": str(root / "cache"), **OPTIONS}
        words = [str(event), str(tmp_path / name), *tiny.command(root, **options)]
        return subprocess.run(
            [sys.executable, "-c", KILLER, *words],
            capture_output=True, text=True, env=tiny.environment(), check=False,
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
    assert tiny.same(tmp_path / "run", tmp_path / "whole")
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.startswith(".")]
