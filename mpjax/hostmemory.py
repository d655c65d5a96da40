"""Memory of the host: kept from step to step instead of given back, and asked for its room."""

import ctypes
import functools
import os
import platform
import time
from pathlib import Path

# Of mallopt in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_COMPILED = "/jax/core/compile/backend_compile_duration"  # event of jax.monitoring
_CGROUPS, _PROC = Path("/sys/fs/cgroup"), Path("/proc")
# Files of a control group's limit and use, then keys of memory.stat: the file cache, and its part
# that is shared memory, which cannot be given back. Versions 2 and 1.
_V2 = ("memory.max", "memory.current", "file", "shmem")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem")
_LONG = 0.2  # seconds of a compilation after which it is worth looking for free pages
_SPARE = 0.5  # of the resident memory, less than which left on the machine is little
_MOST = 1.5  # times the memory of a step, above which the rest is taken for holes
_GROWN = 1.25  # times what is left after giving back, which is no hole
_SOON = 10  # looks of which no second one should find too much
_PAUSE = 0.1  # seconds between two looks, each of which reads a dozen files


def keep_freed_memory() -> bool:
    """Makes the process keep what it frees, so that the next step need not ask for it again.

    A train step on the CPU takes gigabytes for its temporaries and frees them at its end. By
    default glibc gives such blocks back at once, and the system has to find and clear every page
    of them again in the next step: 600,000 of them for BERT-base at 16 x 128. The price is memory:
    a block that is kept may fit no later request, and the peak of a run is higher than without.

    It lasts as long as the process and must come before JAX computes anything: threads that are
    there already go on as before. The commands of mpjax begin with it; a script of your own does
    if it calls it first.

    Returns:
      Whether the settings were taken; False where the C library is not glibc.

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)


def give_back() -> bool:
    """Gives the system every free page of the process; whether there were any.

    >>> give_back() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).malloc_trim(0) == 1


@functools.cache
def give_back_after_compiling() -> None:
    """Gives back what each compilation frees, before the program runs; once for the process.

    Compiling the train step of MiniLM takes 0.75 GB in small pieces. Where freed memory is kept,
    they stay as holes between what is in use, and no temporary of a step fits into them.
    """
    import jax

    def listen(event: str, duration_secs: float, **_: object) -> None:
        if event == _COMPILED and duration_secs > _LONG:
            give_back()

    jax.monitoring.register_event_duration_secs_listener(listen)


class Holes:
    """Gives free pages back where they are too many: the machine is short, or the process large.

    Steps of several lengths have temporaries of several sizes, and each is kept in a place of its
    own: a small block that stays where a large one was leaves a hole that the next large one does
    not fit into. Pages of holes are found again when they are used, so that giving them back costs
    one slow step.

    Args:
      expected: bytes that a step takes in this process beside the state, by arithmetic.
    """

    def __init__(self, expected: int) -> None:
        self._most, self._since = _resident() + _MOST * expected, _SOON
        self._next = 0.0

    def look(self) -> None:
        """Gives back if less than half of the resident memory is left, or it is too large.

        That is larger than before the first step by 1.5 times what a step takes, and by a quarter
        than what the last time left. Where it is too large again within ten looks it is so without
        holes, and the limit rises by a quarter. Once a step, and at most ten times a second.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _PAUSE
        resident, left = _resident(), available()
        scarce = left is not None and left < _SPARE * resident
        large = resident > self._most
        if large and self._since < _SOON - 1:
            self._most *= _GROWN
        self._since = 0 if large else self._since + 1
        if scarce or large:
            give_back()
            self._most = max(self._most, _GROWN * _resident())


def _resident() -> int:
    """Resident bytes of the process but for files; 0 where the system does not say."""
    try:
        pages = list(map(int, Path("/proc/self/statm").read_text().split()))
    except OSError:
        return 0
    return (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE")


def available() -> int | None:
    """Bytes that this process may still take, by the system and by its cgroup; None if unknown.

    >>> free = available()
    >>> free is None or free > 0
    True
    """
    limits = [_meminfo(), _cgroup()]
    return min((limit for limit in limits if limit is not None), default=None)


def _meminfo() -> int | None:
    """MemAvailable of Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _cgroup() -> int | None:
    """Bytes left under the least limit of the process's control groups; None without a limit.

    A container sees its own group as the root. A job of Slurm or systemd is in a group further
    down, and each group above it may have a limit, too.
    """
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    left = []
    for line in lines:  # number:controllers:/path; no controllers in version 2
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (_CGROUPS / "memory", _V1) if controllers else (_CGROUPS, _V2)
        group = root / path.lstrip("/")
        # In a container the path may be that of the host, of which only the root is there.
        above = [folder for folder in group.parents if folder.is_relative_to(root)]
        left += [_left(folder, *files) for folder in (group, *above)]
    return min((size for size in left if size is not None), default=None)


def _left(group: Path, limit: str, usage: str, cache: str, shared: str) -> int | None:
    """Bytes left under a group's own limit; its file cache counts as free."""
    try:
        most, used = (int((group / name).read_text()) for name in (limit, usage))
        lines = (group / "memory.stat").read_text().splitlines()
        stat = dict(line.split() for line in lines)
        return max(most - used + int(stat[cache]) - int(stat[shared]), 0)
    except (OSError, ValueError, KeyError):  # ValueError: "max", no limit
        return None
