"""Memory that a process frees stays with it, so that taking it again costs no page faults."""

import platform
import subprocess
import sys

import pytest

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
