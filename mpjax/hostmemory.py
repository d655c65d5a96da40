"""Memory of the host: kept from step to step instead of given back, and asked for its room."""

import ctypes
import functools
import platform
import time
from pathlib import Path
from typing import Any

# Of mallopt in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_COMPILED = "/jax/core/compile/backend_compile_duration"  # event of jax.monitoring
_CGROUPS, _PROC = Path("/sys/fs/cgroup"), Path("/proc")
# Files of a control group's limit and use, then keys of memory.stat: the file cache, and its part
# that is shared memory, which cannot be given back. Versions 2 and 1.
_V2 = ("memory.max", "memory.current", "file", "shmem")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem")
_LONG = 0.2  # seconds of a compilation after which it is worth looking for free pages
_ROOM = 2**26  # bytes left for small blocks after a compilation
_LARGE = 2**30  # bytes of a step, above which one step at a time is under way
_PAUSE, _TRIES = 0.02, 5  # seconds between two looks at the heap, and the most of them


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
    if (libc := _glibc()) is None:
        return False
    settings = ((_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """C library of this process; None if it is another one than glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def give_back() -> bool:
    """Gives the system every free page of the process; whether there were any.

    >>> give_back() in (True, False)
    True
    """
    libc = _glibc()
    return libc is not None and libc.malloc_trim(0) == 1


@functools.cache
def give_back_after_compiling() -> None:
    """Gives back what each compilation frees, before the program runs; once for the process.

    Compiling the train step of MiniLM takes 0.75 GB in small pieces. Where freed memory is kept,
    they stay as holes between what is in use, and no temporary of a step fits into them. Then
    leaves room for the small blocks of the first run of the program.
    """
    import jax

    def listen(event: str, duration_secs: float, **_: object) -> None:
        if event == _COMPILED and duration_secs > _LONG:
            give_back()
            _leave_room()

    jax.monitoring.register_event_duration_secs_listener(listen)


def _leave_room() -> None:
    """Frees a block at the end of the heap that small ones are then taken from.

    Otherwise they are taken from behind the temporaries of the step that runs. When those are
    freed, the small ones stay, and the temporaries of a longer step need another place.
    """
    if (libc := _glibc()) is None:
        return
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    libc.malloc.restype, libc.malloc.argtypes = pointer, [size]
    libc.realloc.restype, libc.realloc.argtypes = pointer, [pointer, size]
    libc.free.restype, libc.free.argtypes = None, [pointer]
    room = libc.malloc(_ROOM)  # never touched here, so it has no pages yet
    # The start of a second one stays behind it, or it would join the rest of the heap. A small
    # block might lie anywhere.
    libc.realloc(libc.malloc(_ROOM), 2**11)
    libc.free(room)


class MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc, in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def heap() -> MallocInfo | None:
    """State of the heap; None where the C library does not tell it.

    >>> found = heap()
    >>> found is None or found.uordblks > 0
    True
    """
    mallinfo = getattr(_glibc(), "mallinfo2", None)  # of glibc 2.33 and later
    if mallinfo is None:
        return None
    mallinfo.restype = MallocInfo
    return mallinfo()


class Temporaries:
    """Temporaries of large steps, one after the other in one place.

    Two steps under way hold two of them. JAX frees them in a thread of its own, milliseconds after
    the outputs are there, and a step that begins before gets a place beside them, which a process
    that keeps freed memory never leaves.

    Args:
      expected: bytes of the host that a step takes beside the state, by arithmetic.
    """

    def __init__(self, expected: int) -> None:
        self._expected, self._least = expected, _in_use()

    def wait(self, outputs: Any) -> None:
        """Waits for a step of 1 GB or more, then until its memory is free; 0.1 s at most.

        It is free when the heap has grown by less than half of it since the last wait; compiled
        programs may have come to it.

        Args:
          outputs: pytree of arrays of the step.
        """
        if self._expected < _LARGE:
            return
        import jax

        jax.block_until_ready(outputs)
        used = self._least
        for _ in range(_TRIES if used else 0):
            time.sleep(_PAUSE)
            used = _in_use()
            if used - self._least < self._expected / 2:
                break
        self._least = used


def _in_use() -> int:
    """Bytes of the heap in use; 0 if unknown."""
    found = heap()
    return 0 if found is None else found.uordblks + found.hblkhd


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
