"""One sentence for whatever a disk refuses, and the kernel's lock on an open file."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpjax.errors import InputError

_ELSEWHERE = "choose a place that can be written"
# Reason and remedy by error number.
_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another disk"),
    errno.EDQUOT: ("the quota of this disk is used up", "free some space or choose another disk"),
    errno.EFBIG: ("the file is larger than this process or disk allows", "raise the limit"),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission is denied", _ELSEWHERE),
    errno.EPERM: ("permission is denied", _ELSEWHERE),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOTDIR: ("a part of its path is a file", "choose a path of folders"),
    errno.ENOENT: ("its folder does not exist or was removed", "make the folder"),
    errno.EISDIR: ("it is a folder", "choose the name of a file"),
    errno.EEXIST: ("it exists", "choose another name or remove it"),
    errno.ENOTEMPTY: ("it exists and is not empty", "choose another name or remove it"),
    errno.ELOOP: ("its symbolic links lead in a circle", "mend the links"),
    errno.EIO: ("the disk reports an error", "check the disk"),
}
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writing(path: str | os.PathLike[str], needs: int | None = None) -> Iterator[None]:
    """Turns an `OSError` of the block into an `InputError` of one sentence about ``path``.

    Args:
      path: file or folder that the block writes, named in place of temporary ones.
      needs: bytes to be written, for the message about a full disk.

    >>> with writing("model/config.json"):
    ...     raise OSError(errno.EROFS, "Read-only file system")
    Traceback (most recent call last):
    mpjax.errors.InputError: model/config.json cannot be written: the file system is read-only; ...
    """
    try:
        yield
    except BrokenPipeError:  # a reader that has gone, not a disk
        raise
    except OSError as error:
        raise InputError(refused(path, error, needs, "written")) from error


def refused(
    path: str | os.PathLike[str], error: OSError, needs: int | None = None, doing: str = "used"
) -> str:
    """The sentence: path, reason, bytes needed and free where a disk is full, and a remedy."""
    said = error.strerror or str(error) or type(error).__name__
    reason, remedy = _REASONS.get(error.errno or 0, (said, "check the path and the disk"))
    if error.errno in _FULL:
        reason += _sizes(Path(path), needs)
    return f"{os.fspath(path)} cannot be {doing}: {reason}; {remedy}"


def _sizes(path: Path, needs: int | None) -> str:
    """Bytes needed and bytes free, as far as they are known."""
    free = free_bytes(path)
    known = [] if needs is None else [f"{needs:,} bytes are needed"]
    known += [] if free is None else [f"{free:,} bytes are free"]
    return f" ({', '.join(known)})" if known else ""


def free_bytes(path: Path) -> int | None:
    """Bytes that may be written where ``path`` is or will be; None if the disk does not say."""
    for folder in (path, *path.absolute().parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return None


def try_lock(handle: int) -> bool | None:
    """Takes the kernel's lock: True; False if another has it; None without locks on this disk."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def is_at(path: Path, handle: int) -> bool:
    """Whether an open file still is the one at ``path``; the lock of a removed one is worthless."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def machine() -> str:
    """Identity of the running kernel, which containers share, or else the name of the host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename
