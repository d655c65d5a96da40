"""One writer at a time for a folder or a file, over processes and hosts.

The kernel's lock on a small file decides between processes of one machine, and of several whose
file system shares locks; it is free the moment its holder dies, so nothing goes stale. The file
names the holder. Its time of modification is a sign of life, for file systems without locks
between hosts: the holder renews it, and a record that another machine left is obeyed until it has
been silent for a minute.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mpjax.disk import is_at, machine, try_lock, writing
from mpjax.errors import InputError
from mpjax.log import log

LOCK = ".lock"
BEAT = 10.0  # seconds between two signs of life
SILENT = 60.0  # seconds of silence after which the holder on another machine is dead
POLL = 0.5  # seconds between two looks while waiting
_LONGEST = 4096  # bytes read of a record


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as the file records it."""

    host: str
    boot: str  # of the kernel, which several containers with other host names may share
    pid: int
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Holds ``folder``, made if missing, for this process alone while the block runs.

    The record is removed afterwards, and a folder that was made and stayed empty with it.

    Raises:
      InputError: another process holds it, or the disk refuses.
    """
    with held(Path(folder) / LOCK, f"{folder}"):
        yield


@contextmanager
def held(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs.

    Args:
      what: the thing that is written, for messages.
      wait: wait for another holder, saying so once, instead of refusing.

    Raises:
      InputError: another process holds it and ``wait`` is false, or the disk refuses.
    """
    made = not path.parent.exists()
    own = _ourselves()
    with writing(path):
        handle = _acquire(path, what, own, wait)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, handle, own, what, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        if os.getpid() == own.pid:  # not in a fork
            _release(path, handle, own)
            if made:
                with suppress(OSError):
                    path.parent.rmdir()
        os.close(handle)


def holder(path: Path) -> Holder | None:
    """The holder that a lock file names; None for no file and for a damaged one."""
    try:
        with path.open("rb") as file:
            return Holder(**_fields(json.loads(file.read(_LONGEST))))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _fields(record: Any) -> dict[str, Any]:
    """Fields of a record, each of its type; `TypeError` for any other."""
    if not isinstance(record, dict) or type(record.get("pid")) is not int:
        raise TypeError
    if not all(isinstance(value, str) for name, value in record.items() if name != "pid"):
        raise TypeError
    return record


def _ourselves() -> Holder:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    return Holder(os.uname().nodename, machine(), os.getpid(), since, shlex.join(sys.argv)[:500])


def _acquire(path: Path, what: str, own: Holder, wait: bool) -> int:
    """Opens and locks the file and writes the record; returns the open file."""
    said = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:  # the folder was removed between the two lines
            continue
        try:
            other = _in_the_way(path, handle, what)
            if other is None and is_at(path, handle):
                _write(path, handle, own)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if other is None:  # the holder removed the file between opening and locking
            continue
        if not wait:
            raise InputError(
                f"{what} is being written by {other}; wait until it ends, stop it, or choose "
                "another place"
            )
        if not said:
            log.warning("waiting for %s, which is being written by %s", what, other)
            said = True
        time.sleep(POLL)


def _in_the_way(path: Path, handle: int, what: str) -> Holder | str | None:
    """The living holder; None if the lock is ours, or was of a dead one, which is noted."""
    locked = try_lock(handle)
    if not is_at(path, handle):
        return None
    if locked is False:
        return _named(path) or "another process"
    found = holder(path)
    if found is None:
        return None
    if found.boot == machine():
        # The kernel's lock knows; without it the process does, if its number means the same here.
        same = found.host == os.uname().nodename
        living = locked is None and (_runs(found.pid) if same else _beats(path, found, what))
    else:
        living = _beats(path, found, what)
    if living:
        return found
    log.warning("%s was being written by %s, which is gone; taken over", what, found)
    return None


def _named(path: Path) -> Holder | None:
    """The living holder, who may just be writing its record."""
    until = time.monotonic() + 1
    while (found := holder(path)) is None and time.monotonic() < until:
        time.sleep(0.02)
    return found


def _beats(path: Path, found: Holder, what: str) -> bool:
    """Whether the record of another machine shows a sign of life before its time is over."""
    last = _modified(path)
    left = SILENT - (_clock(path.parent) - last)
    if left > 0:
        log.warning("%s: waiting up to %.0f s for a sign of life of %s", what, left, found)
    until = time.monotonic() + min(left, SILENT)
    while time.monotonic() < until:
        time.sleep(min(POLL, SILENT / 10))
        now = _modified(path)
        if now != last:
            return now > 0  # at 0 the holder has ended and removed its record
    return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _clock(folder: Path) -> float:
    """Time as the file system tells it, which may be that of another machine."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return pid > 0


def _write(path: Path, handle: int, own: Holder) -> None:
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(own)).encode(), 0)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _beat(path: Path, handle: int, own: Holder, what: str, done: threading.Event) -> None:
    """Renews the sign of life until ``done``; says so if another process has taken over."""
    while not done.wait(BEAT):
        if holder(path) != own:
            log.warning("%s was taken over by %s", what, holder(path) or "another process")
            return
        with suppress(OSError):
            os.utime(handle)


def _release(path: Path, handle: int, own: Holder) -> None:
    """Removes the record while the lock is held, so that whoever locks this file next sees it."""
    if is_at(path, handle) and holder(path) == own:
        with suppress(OSError):
            path.unlink()
