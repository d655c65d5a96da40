"""Memory that a process frees stays with it, so that taking it again costs no page faults."""

import platform
import subprocess
import sys

import jax
import numpy as np
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


def test_a_process_too_large_for_its_step_gives_back(monkeypatch):
    given = []

    def resident(size):
        monkeypatch.setattr(hostmemory, "_resident", lambda: size)

    def trim(left):
        given.append(1)
        resident(left)

    monkeypatch.setattr(hostmemory, "available", lambda: None)
    resident(1000)
    monkeypatch.setattr(hostmemory, "_PAUSE", 0)
    holes = hostmemory.Holes(2000)
    monkeypatch.setattr(hostmemory, "give_back", lambda: trim(1500))

    def looks(*sizes):
        for size, expected in sizes:
            resident(size)
            holes.look()
            assert len(given) == expected

    looks((4000, 0), (4001, 1), *[(4000, 1)] * 8, (4001, 2))  # again in the tenth step
    # Too soon for holes: the limit has risen to 5000, and does so once more.
    looks(*[(4500, 2)] * 10, (5001, 3), (5001, 4), (6000, 4))
    monkeypatch.setattr(hostmemory, "give_back", lambda: trim(8000))  # what is in use grew
    looks((8500, 5), (10000, 5), (10001, 6))


def test_two_looks_are_a_pause_apart(monkeypatch):
    seen, holes = [], hostmemory.Holes(10**9)
    monkeypatch.setattr(hostmemory, "available", lambda: seen.append(1))
    for now, expected in ((5.0, 1), (5.09, 1), (5.11, 2), (5.2, 2), (6.0, 3)):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        holes.look()
        assert len(seen) == expected


def test_a_machine_that_is_short_gets_pages_back_at_every_step(monkeypatch):
    monkeypatch.setattr(hostmemory, "_PAUSE", 0)
    given, holes = [], hostmemory.Holes(10**9)
    monkeypatch.setattr(hostmemory, "give_back", lambda: given.append(1))
    monkeypatch.setattr(hostmemory, "_resident", lambda: 1000)
    for left, expected in ((500, 0), (499, 1), (0, 2), (2000, 2)):
        monkeypatch.setattr(hostmemory, "available", lambda left=left: left)
        holes.look()
        assert len(given) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_resident_memory_is_that_of_the_process_without_files(tmp_path):
    block = np.ones(10**7)
    found = hostmemory._resident()
    assert block.nbytes < found < 10**12
    np.save(tmp_path / "block.npy", block)
    mapped = np.load(tmp_path / "block.npy", mmap_mode="r")
    assert mapped.sum() == 10**7  # reads every page
    assert hostmemory._resident() < found + block.nbytes // 2


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
