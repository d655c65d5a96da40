"""Memory that a process frees stays with it, so that taking it again costs no page faults."""

import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from mpjax import hostmemory

# Takes and frees the same 256 MB over and over, and prints the page faults of the last time.
PROGRAM = """
import ctypes, resource, sys
from mpjax.hostmemory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**28)
    ctypes.memset(block, 1, 2**28)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    argv = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_memory_taken_again_is_at_hand():
    pages = 2**28 // 2**21  # at least so many, however large they are
    assert faults("give back") >= pages
    assert faults("keep") < pages // 10


# Holes of 64 KB in 256 MB of the heap: every other block is freed.
HOLES = """
import ctypes
from pathlib import Path
from mpjax.hostmemory import give_back, keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(2**16) for _ in range(2**12)]
for block in blocks:
    ctypes.memset(block, 1, 2**16)
for block in blocks[::2]:
    libc.free(block)
pages = lambda: int(Path("/proc/self/statm").read_text().split()[1])
before = pages()
assert give_back()
print(4096 * (before - pages()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_holes_between_what_is_in_use_are_given_back():
    argv = [sys.executable, "-c", HOLES]
    given = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert given > 100_000_000


def test_memory_is_given_back_after_a_long_compilation_and_no_other(monkeypatch):
    calls = []
    monkeypatch.setattr(hostmemory, "give_back", lambda: calls.append(1))
    hostmemory.give_back_after_compiling.cache_clear()
    listeners = []
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", listeners.append)
    for _ in range(2):
        hostmemory.give_back_after_compiling()
    (listen,) = listeners
    monkeypatch.undo()
    monkeypatch.setattr(hostmemory, "give_back", lambda: calls.append(1))
    monkeypatch.setattr(hostmemory, "_LONG", 0.0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x * 3 + 1.25)(2.0)  # a real compilation has the event's name
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert calls
    calls.clear()
    listen(hostmemory._COMPILED, -1.0)
    listen("/another/event", 9.0)
    assert not calls


# Addresses of 256 MB, and of small blocks that are taken afterwards.
ROOM = """
import ctypes
from mpjax import hostmemory
hostmemory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
hostmemory.give_back()
hostmemory._leave_room()
large = libc.malloc(2**28)
print(sum(libc.malloc(2**12) > large for _ in range(1000)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_small_blocks_lie_before_the_temporaries_of_a_program_just_compiled():
    argv = [sys.executable, "-c", ROOM]
    assert int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout) == 0


GB = 2**30


@pytest.fixture
def looks(monkeypatch):
    """Function that sets the bytes in use at each look, and returns the list of looks to come."""
    left: list[int] = []
    monkeypatch.setattr(hostmemory, "_in_use", lambda: left.pop(0))
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def set_looks(*sizes):
        left[:] = sizes
        return left

    return set_looks


def test_a_step_begins_when_the_temporaries_of_the_last_are_freed(looks):
    left = looks(3 * GB, 5 * GB, 5 * GB, 4 * GB - 1, 9 * GB)
    temporaries = hostmemory.Temporaries(2 * GB)
    temporaries.wait(jnp.ones(3))
    assert left == [9 * GB]
    left = looks(5 * GB, 5 * GB - 2, 9 * GB)  # a compiled program came to what is in use
    temporaries.wait(jnp.ones(3))
    assert left == [9 * GB]


def test_memory_that_stays_in_use_is_not_waited_for_again(looks):
    left = looks(3 * GB, *[6 * GB] * hostmemory._TRIES, 6 * GB)
    temporaries = hostmemory.Temporaries(2 * GB)
    temporaries.wait(jnp.ones(3))
    assert left == [6 * GB]
    temporaries.wait(jnp.ones(3))
    assert not left


def test_small_steps_and_unknown_heaps_are_not_looked_at(looks):
    left = looks(3 * GB, 9 * GB)
    hostmemory.Temporaries(GB - 1).wait(jnp.ones(3))
    assert left == [9 * GB]
    left = looks(0, 9 * GB)
    hostmemory.Temporaries(2 * GB).wait(jnp.ones(3))
    assert left == [9 * GB]


def test_a_large_step_is_waited_for(looks, monkeypatch):
    waited = []
    monkeypatch.setattr(jax, "block_until_ready", waited.append)
    looks(0)
    hostmemory.Temporaries(GB).wait("state")
    assert waited == ["state"]


def group(folder, limit, used, cache, shared, version=2):
    """Files of a control group with this limit, use, file cache and shared memory."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {2: ("max", "current", "file", "shmem"),
             1: ("limit_in_bytes", "usage_in_bytes", "total_cache", "total_shmem")}  # fmt: skip
    for name, value in zip(names[version], (limit, used), strict=False):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    stat = zip(names[version][2:], (cache, shared), strict=True)
    (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat))


def test_memory_is_what_the_least_limit_of_the_groups_above_leaves(tmp_path, monkeypatch):
    groups = tmp_path / "cgroup"
    monkeypatch.setattr(hostmemory, "_CGROUPS", groups)
    monkeypatch.setattr(hostmemory, "_PROC", tmp_path)
    monkeypatch.setattr(hostmemory, "_meminfo", lambda: 10**6)
    (tmp_path / "self").mkdir()

    def within(lines):
        (tmp_path / "self/cgroup").write_text(lines)
        return hostmemory.available()

    assert within("0::/\n") == 10**6
    group(groups, 1000, 700, 250, 50)  # a container
    assert within("0::/\n") == 500
    assert within("0::/of/the/host\n") == 500
    group(groups / "slurm/job", "max", 700, 0, 0)
    group(groups / "slurm", 900, 600, 0, 0)
    assert within("0::/slurm/job/step\n") == 300
    group(groups / "memory", 2**63 - 4096, 10, 0, 0, version=1)
    group(groups / "memory/job", 400, 300, 20, 0, version=1)
    assert within("9:cpu,cpuacct:/job\n4:memory:/job\n") == 120
    assert within("9:cpu:/job\n") == within("4:memory:/\n") == 10**6
