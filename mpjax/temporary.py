"""Temporary files and folders beside the thing they become; those of killed writers are removed.

A writer holds the kernel's lock on its temporary, ``.NAME.MACHINE-RANDOM``, so that the next writer
of the same target knows which are left over: on the same machine those that nobody holds, of
another machine those that nobody holds and that have not changed for ten minutes.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpjax.disk import is_at, machine, try_lock
from mpjax.errors import escaped
from mpjax.log import warn_once

QUIET, _OLD = 600.0, 86_400.0  # seconds
_LONGEST = 150  # bytes of a target's name kept in that of its temporary; a name has 255 at most
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


@contextmanager
def beside(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Makes a temporary file or folder next to ``target``, on the same disk, to be renamed.

    Leftovers of killed writers of this target go first, since the disk may be full of them. The
    temporary is removed afterwards if it is still there.
    """
    remove_leftovers(target)
    path, handle = _make(target, folder)
    try:
        yield path
    finally:
        _remove(path)
        os.close(handle)


def remove_leftovers(target: Path) -> None:
    """Removes temporaries of this target whose writers are dead; disk errors are left alone.

    Those of versions before 0.2, ``.NAME.RANDOM``, hold no lock, and a file of the user's may be
    called so too: what looks like one and has not changed for a day is named in a warning.
    """
    pattern = re.compile(re.escape(_stem(target)) + r"(?:([0-9a-f]{8})-)?[a-z0-9_]{8}")
    with suppress(OSError), os.scandir(target.parent) as entries:
        found = [(Path(entry.path), match[1]) for entry in entries
                 if (match := pattern.fullmatch(entry.name))]  # fmt: skip
        for path, maker in found:
            with suppress(OSError):
                _remove_dead(path, maker) if maker else _name_old(path)


def put(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Renames a finished file to its target, in one step.

    Raises `FileExistsError` for a target that exists and is to stay.
    """
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)  # unlike a rename it fails if another process was first
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(temporary, target)


def swap(temporary: Path, target: Path) -> None:
    """Puts a finished folder in the place of another; the old one goes after the new one is there.

    Where the system cannot exchange names, the old one is away for a moment: see `restore`.
    """
    if exchange(temporary, target):
        return  # the temporary is the old one now, and is removed as such
    away = _away(target)
    os.replace(target, away)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(away, target)
        raise
    shutil.rmtree(away, ignore_errors=True)


def restore(target: Path) -> None:
    """Mends what a kill in the middle of `swap` may have left."""
    away = _away(target)
    if away.is_dir() and not away.is_symlink():
        if os.path.lexists(target):
            shutil.rmtree(away, ignore_errors=True)
        else:
            os.replace(away, target)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step, if the system and the disk can; both must exist."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def sync(path: Path) -> None:
    """Makes a file, or the names in a folder, reach the disk; some disks cannot and need not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        if path.is_dir():
            with suppress(OSError):
                os.fsync(handle)
        else:
            os.fsync(handle)
    finally:
        os.close(handle)


def _stem(target: Path) -> str:
    """Start of the names of a target's temporaries; long names are cut and told apart by a hash."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return f".{name}."


def _away(target: Path) -> Path:
    return target.with_name(f"{_stem(target)}replaced")


def _maker() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def _make(target: Path, folder: bool) -> tuple[Path, int]:
    """Makes and locks a temporary: its path and the open file."""
    prefix = f"{_stem(target)}{_maker()}-"
    while True:
        if folder:
            path = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            try:
                handle = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue  # taken for a leftover before it was locked
        else:
            handle, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
            path = Path(name)
        with suppress(OSError):  # a disk without locks: age alone tells leftovers
            try_lock(handle)
        if is_at(path, handle):
            return path, handle
        os.close(handle)


def _remove_dead(path: Path, maker: str) -> None:
    """Removes a temporary unless its writer lives."""
    kind = path.lstat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        locked = try_lock(handle)
        known = locked is True and maker == _maker()
        if known or (locked is not False and time.time() - _newest(path) > QUIET):
            _remove(path)
    finally:
        os.close(handle)


def _name_old(path: Path) -> None:
    """Warns of a temporary of an earlier version, which was made for its owner alone."""
    found = path.lstat()
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return
    private = not found.st_mode & 0o077 and found.st_uid == os.getuid()
    if private and time.time() - _newest(path) > _OLD:
        warn_once(
            str(path),
            f"{escaped(str(path))} looks like what a killed writer of an earlier version left; "
            "remove it unless you made it yourself",
        )


def _newest(path: Path) -> float:
    """Time of the last change of a file, or of a folder and the files in it."""
    inside = path.iterdir() if path.is_dir() else ()
    return max(entry.lstat().st_mtime for entry in (path, *inside))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
