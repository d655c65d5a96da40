"""Temporaries: those of killed writers go with the next one, those of living writers stay."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from disks import fill, make_read_only, small_disk, tree

from mpjax import files, temporary
from mpjax.errors import InputError
from mpjax.files import write_atomically, write_text
from mpjax.models.hf.saving import write_folder
from mpjax.temporary import beside, exchange, restore

# Writes a folder or a file, and stops for ever in the middle.
STOPS = """
import sys, time
from pathlib import Path
from mpjax.temporary import beside
with beside(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as path:
    (path / "half" if path.is_dir() else path).write_text("half")
    print(path, flush=True)
    time.sleep(60)
"""
TENSORS = {"w": np.arange(6, dtype=np.float32)}


def config(word: str) -> bytes:
    """A `config.json` as only models have, so that its folder may be replaced."""
    return f'{{"model_type": "{word}"}}'.encode()


def stopped(target: Path, kind: str) -> tuple[subprocess.Popen, Path]:
    """A process in the middle of writing, and its temporary."""
    command = [sys.executable, "-c", STOPS, str(target), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()  # waits and closes


def write(target: Path, kind: str) -> None:
    if kind == "folder":
        write_folder(target, {"config.json": config("any")}, TENSORS, exist_ok=True)
    else:
        write_text(target, "whole")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(kind, tmp_path):
    (tmp_path / "other").mkdir()
    dead, left = stopped(tmp_path / "model", kind)
    kill(dead)
    beyond, neighbour = stopped(tmp_path / "model.json", kind)
    kill(beyond)
    mine = tmp_path / ".model.of-mine"
    mine.write_text("kept")
    link = left.with_name(left.name[:-8] + "abcd1234")
    link.symlink_to(tmp_path / "other")
    living, working = stopped(tmp_path / "model", kind)
    try:
        assert not left.exists()
        write(tmp_path / "model", kind)
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"model", "other", working.name, neighbour.name, mine.name, link.name}
    finally:
        kill(living)
    write(tmp_path / "model", kind)
    assert not working.exists() and neighbour.exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_another_machine_has_ten_minutes(kind, tmp_path):
    dead, left = stopped(tmp_path / "model", kind)
    kill(dead)
    start, random = left.name.rsplit("-", 1)
    far = left.with_name(start[:-8] + "00000000-" + random)
    left.rename(far)
    write(tmp_path / "model", kind)
    assert far.exists()
    for path in (far, *far.glob("*")):
        os.utime(path, (time.time() - 700,) * 2)
    living, working = stopped(tmp_path / "model", kind)
    try:
        assert not far.exists()
        os.rename(working, far)  # one that is held is alive, whatever its age
        for path in (far, *far.glob("*")):
            os.utime(path, (time.time() - 700,) * 2)
        write(tmp_path / "model", kind)
        assert far.exists()
    finally:
        kill(living)


def test_without_locks_on_the_disk_age_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary, "try_lock", lambda handle: None)
    dead, left = stopped(tmp_path / "model", "file")
    kill(dead)
    write_text(tmp_path / "model", "whole")
    assert left.exists()
    os.utime(left, (1, 1))
    write_text(tmp_path / "model", "whole")
    assert not left.exists()


def test_a_temporary_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    lock, made = temporary.try_lock, []

    def late(handle):
        made.extend(path for path in tmp_path.iterdir() if not made)
        if len(list(tmp_path.iterdir())) == 1 and made[0].exists():
            made[0].rmdir() if made[0].is_dir() else made[0].unlink()
        return lock(handle)

    monkeypatch.setattr(temporary, "try_lock", late)
    for folder in (False, True):
        made.clear()
        with beside(tmp_path / "model", folder=folder) as path:
            assert path.exists() and path != made[0]


def test_names_of_the_greatest_length_can_be_written(tmp_path):
    for name in ("n" * 255, "ü" * 127):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    dead, left = stopped(tmp_path / ("n" * 255), "file")
    kill(dead)
    write_text(tmp_path / ("ü" * 127), "again")
    assert left.exists()
    write_text(tmp_path / ("n" * 255), "again")
    assert not left.exists()


DIES = """
import os, signal, sys
from pathlib import Path
import numpy as np
from mpjax import temporary
from mpjax.models.hf import saving
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[2]
if where == "before exchange": saving.swap = die
if where == "after exchange":
    real = temporary.exchange
    temporary.exchange = lambda a, b: (real(a, b), die())
if where == "between renames":
    temporary.exchange = lambda a, b: False
    real, calls = os.replace, []
    os.replace = lambda a, b: die() if calls else (calls.append(1), real(a, b))
if where == "removal":
    temporary.exchange = lambda a, b: False
    temporary.shutil.rmtree = die
files, tensors = {"config.json": b'{"model_type": "new"}'}, {"w": np.ones(2, np.float32)}
saving.write_folder(sys.argv[1], files, tensors, exist_ok=True)
"""


@pytest.mark.parametrize(
    ("where", "whole"),
    [("before exchange", "old"), ("after exchange", "new"), ("between renames", None),
     ("removal", "new")],
)  # fmt: skip
def test_a_kill_while_a_folder_is_replaced(where, whole, tmp_path):
    target = tmp_path / "model"
    write_folder(target, {"config.json": config("old")}, TENSORS)
    done = subprocess.run([sys.executable, "-c", DIES, str(target), where])
    assert done.returncode == -signal.SIGKILL
    if whole is None:  # only where names cannot be exchanged
        restore(target)
        whole = "old"
    assert (target / "config.json").read_bytes() == config(whole)
    write_folder(target, {"config.json": config("next")}, TENSORS, exist_ok=True)
    assert (target / "config.json").read_bytes() == config("next")
    assert os.listdir(tmp_path) == ["model"]


def test_names_are_exchanged_in_one_step(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    if exchange(tmp_path / "one", tmp_path / "other"):
        assert os.listdir(tmp_path / "one") == ["other"]
    assert not exchange(tmp_path / "one", tmp_path / "missing")


def test_a_file_that_is_to_stay_stays_even_if_it_came_meanwhile(tmp_path, monkeypatch):
    def write_and_be_late(file):
        file.write(b"ours")
        (tmp_path / "file").write_text("theirs")

    refusal = pytest.raises(InputError, match="file cannot be written: it exists")
    with refusal:
        write_atomically(tmp_path / "file", write_and_be_late, overwrite=False)
    monkeypatch.setattr(files.os, "link", lambda *_: os.stat("/nowhere"))  # no hard links
    with refusal:
        write_atomically(tmp_path / "file", write_and_be_late, overwrite=False)
    assert tree(tmp_path) == {"file": b"theirs"}
    write_atomically(tmp_path / "new", lambda file: file.write(b"ours"), overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"ours"


def test_a_full_and_a_read_only_disk(tmp_path):
    large = {"w": np.zeros(100_000, np.float32)}
    with small_disk(tmp_path / "disk", "128k") as disk:
        write_folder(disk / "model", {"config.json": config("old")}, TENSORS)
        write_text(disk / "file", "old")
        before = tree(disk)
        said = (
            r"(model|file) cannot be written: the disk is full \([\d,]+ bytes are needed, [\d,]+ "
        )
        with pytest.raises(InputError, match=said):
            write_folder(disk / "model", {"config.json": config("new")}, large, exist_ok=True)
        assert tree(disk) == before
        with pytest.raises(InputError, match=said):
            write_text(disk / "file", "new" * 100_000)
        assert tree(disk) == before
        dead, left = stopped(disk / "file", "file")
        kill(dead)
        fill(disk)
        (disk / "filling").unlink()
        make_read_only(disk)
        for kind, name in (("folder", "model"), ("file", "file")):
            with pytest.raises(InputError, match="file system is read-only"):
                write(disk / name, kind)
        left_over = re.escape(left.name)
        assert [name for name in tree(disk) if not re.match(left_over, name)] == list(before)


def test_what_an_earlier_version_may_have_left_is_named_once_and_stays(tmp_path, caplog):
    old, young, open_, own = (
        tmp_path / f".model.{end}" for end in ("ab3d_f9h", "ab3d_f9g", "original", "notes")
    )
    for path in (old, young, open_, own):
        path.mkdir(mode=0o755 if path == open_ else 0o700)
    for path in (old, open_, own):
        os.utime(path, (1, 1))
    for _ in range(2):
        write(tmp_path / "model", "folder")
    assert [record.getMessage() for record in caplog.records] == [
        f"{old} looks like what a killed writer of an earlier version left; remove it unless you "
        "made it yourself"
    ]
    assert all(path.is_dir() for path in (old, young, open_, own))
