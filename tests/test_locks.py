"""One writer at a time: real processes, a killed holder, other machines, disks without locks."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpjax import locks
from mpjax.errors import InputError
from mpjax.locks import LOCK, held, one_writer

HOLD = """
import sys, time
from mpjax.locks import one_writer
assert not {"jax", "numpy"} & set(sys.modules)
with one_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""
FOREIGN = {"host": "far", "boot": "other", "pid": 7, "since": "today", "command": "mpjax train"}


@contextmanager
def another(folder: Path):
    """A second process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate("end\n")


def foreign(folder: Path, age: float) -> Path:
    """A record of another machine, whose last sign of life is ``age`` seconds old."""
    folder.mkdir(exist_ok=True)
    path, record = folder / LOCK, folder / "record"
    record.write_text(json.dumps(FOREIGN))
    os.utime(record, (time.time() - age,) * 2)
    record.replace(path)
    return path


@pytest.fixture
def quick(monkeypatch):
    """A tenth of a second instead of ten."""
    monkeypatch.setattr(locks, "BEAT", 0.1)
    monkeypatch.setattr(locks, "SILENT", 0.6)
    monkeypatch.setattr(locks, "POLL", 0.02)


def test_the_second_process_is_told_who_holds_it_and_the_first_is_not_disturbed(tmp_path):
    with another(tmp_path / "run") as process:
        record = json.loads((tmp_path / "run" / LOCK).read_text())
        with pytest.raises(InputError) as caught, one_writer(tmp_path / "run"):
            pass
        message = str(caught.value)
        for known in (process.pid, os.uname().nodename, record["since"], record["command"]):
            assert str(known) in message
        assert message.startswith(f"{tmp_path / 'run'} is being written by process")
        assert json.loads((tmp_path / "run" / LOCK).read_text()) == record
    with one_writer(tmp_path / "run"):  # free once more
        assert locks.holder(tmp_path / "run" / LOCK).pid == os.getpid()


def test_one_process_does_not_hold_it_twice(tmp_path):
    with one_writer(tmp_path):
        with pytest.raises(InputError, match=f"process {os.getpid()} "), one_writer(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()


def test_a_clean_end_leaves_no_trace(tmp_path):
    with one_writer(tmp_path / "a" / "made"):
        pass
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path / "run"):
        (tmp_path / "run" / "file").write_text("kept")
        raise ZeroDivisionError
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["file"]


def test_a_killed_holder_is_taken_over_at_once(tmp_path, caplog):
    with another(tmp_path / "run") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / "run" / LOCK).exists()
        with one_writer(tmp_path / "run"):
            assert locks.holder(tmp_path / "run" / LOCK).pid == os.getpid()
    assert f"process {process.pid} on " in caplog.text and "taken over" in caplog.text


def test_another_machine_is_obeyed_while_it_gives_signs_of_life(tmp_path, quick):
    path, done = foreign(tmp_path, 0), threading.Event()

    def live():
        while not done.wait(0.1):
            os.utime(path)

    beat = threading.Thread(target=live)
    beat.start()
    try:
        with pytest.raises(InputError, match="process 7 on far since today"), one_writer(tmp_path):
            pass
    finally:
        done.set()
        beat.join()
    assert json.loads(path.read_text()) == FOREIGN


def test_another_machine_that_fell_silent_is_taken_over(tmp_path, quick, caplog):
    foreign(tmp_path, 0.3)
    start = time.monotonic()
    with one_writer(tmp_path):
        assert 0.2 < time.monotonic() - start < 3
    assert "waiting up to" in caplog.text and "taken over" in caplog.text
    caplog.clear()
    foreign(tmp_path, 120)
    with one_writer(tmp_path):
        assert "waiting" not in caplog.text and "taken over" in caplog.text


def test_the_holder_gives_signs_of_life_and_notices_a_successor(tmp_path, quick, caplog):
    with one_writer(tmp_path):
        os.utime(tmp_path / LOCK, (1, 1))
        time.sleep(0.3)
        assert time.time() - (tmp_path / LOCK).stat().st_mtime < 5
        foreign(tmp_path, 0)
        time.sleep(0.3)
    assert "was taken over by process 7 on far" in caplog.text
    assert locks.holder(tmp_path / LOCK).host == "far"  # not ours to remove


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_without_locks_on_the_disk_records_decide(number, tmp_path, quick, monkeypatch):
    def refuse(handle, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with another(tmp_path / "run") as process:
        with (
            pytest.raises(InputError, match=f"process {process.pid} "),
            one_writer(tmp_path / "run"),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with one_writer(tmp_path / "run"):
            pass
    assert not (tmp_path / "run" / LOCK).exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 5000, b'{"pid": "x"}',
                                     b'{"pid": 1, "host": [2]}'])  # fmt: skip
def test_a_damaged_record_that_nobody_holds_is_replaced(content, tmp_path):
    (tmp_path / LOCK).write_bytes(content)
    with one_writer(tmp_path):
        assert locks.holder(tmp_path / LOCK).pid == os.getpid()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_refuses_is_one_sentence(number, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.os, "pwrite", refuse)
    with pytest.raises(InputError, match=r"\.lock cannot be written: "), one_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_or_folder_in_place_of_the_lock_is_one_sentence(tmp_path):
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be written"), one_writer(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()
    with pytest.raises(InputError, match="cannot be written"), one_writer(tmp_path):
        pass


def test_waiting_says_so_and_ends_with_the_holder(tmp_path, quick, caplog):
    with another(tmp_path) as process:
        timer = threading.Timer(0.3, lambda: process.stdin.write("end\n") and process.stdin.flush())
        timer.start()
        with held(tmp_path / LOCK, "the entry", wait=True):
            assert locks.holder(tmp_path / LOCK).pid == os.getpid()
        timer.join()
    assert caplog.text.count("waiting for the entry, which is being written by process") == 1


COUNT = """
import sys, time
from pathlib import Path
from mpjax.locks import held, LOCK
folder = Path(sys.argv[1])
for _ in range(40):
    with held(folder / LOCK, "count", wait=True):
        n = int((folder / "n").read_text())
        time.sleep(0.001)
        (folder / "n").write_text(str(n + 1))
"""


def test_processes_that_take_turns_lose_nothing(tmp_path):
    """Files are removed and made again at every turn: the place where two could get in."""
    (tmp_path / "n").write_text("0")
    code = COUNT.replace("folder = ", "from mpjax import locks; locks.POLL = 0.001; folder = ")
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "n").read_text() == "120"


def test_a_file_removed_between_opening_and_locking_guards_nothing(tmp_path, monkeypatch):
    lock, files = locks.try_lock, []

    def late(handle):
        files.append(handle)
        if len(files) == 1:  # the holder ends just now
            (tmp_path / LOCK).unlink()
        return lock(handle)

    monkeypatch.setattr(locks, "try_lock", late)
    with one_writer(tmp_path):
        assert locks.holder(tmp_path / LOCK).pid == os.getpid()
    assert len(files) == 2
