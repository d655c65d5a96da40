"""Targets with known faults, for the tests of the runner."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from experiments.reliability.mutations import flip_bit
from experiments.reliability.target import Target
from mpjax.errors import InputError

SOUND = b"sound"


def _make(folder: Path, root: Path) -> None:
    del root
    (folder / "a.txt").write_bytes(SOUND)


def _planted(fault, **options):
    """A target that reads a sound file, and has a fault with any other."""

    def read(folder: Path, root: Path):
        del root
        content = (folder / "a.txt").read_bytes()
        return content if content == SOUND else fault(folder / "a.txt", content)

    return Target(_make, {"*.txt": flip_bit}, read, share=1, **options)


def _refuse(path, content):
    raise InputError(f"{path} holds {content!r}; write it again")


def _refuse_in_many_words(path, content):
    raise InputError(f"{path} holds {content!r}; write it again" + " and again" * 60)


def _refuse_without_a_place(path, content):
    raise InputError("something is wrong")


def _raise(path, content):
    raise KeyError("key")


def _take_memory(path, content):
    return float(np.ones(80_000_000).sum())  # 640 MB


def _ask_for_a_tebibyte(path, content):
    return np.ones(1 << 37)


TARGETS = {
    "ok": _planted(lambda path, content: content),
    "refused": _planted(_refuse),
    "long": _planted(_refuse_in_many_words),
    "placeless": _planted(_refuse_without_a_place),
    "raises": _planted(_raise),
    "hangs": _planted(lambda path, content: time.sleep(60), seconds=0.2),
    "slow": _planted(lambda path, content: time.sleep(0.25), seconds=0.2),
    "silent": _planted(lambda path, content: content, guarded=True),
    "guarded": _planted(lambda path, content: SOUND, guarded=True),
    "memory": _planted(_take_memory),
    "tebibyte": _planted(_ask_for_a_tebibyte),
    "dies": _planted(lambda path, content: os.kill(os.getpid(), signal.SIGKILL)),
}
EXPECTED = {
    "ok": "ok", "refused": "refused", "long": "unclear", "placeless": "unclear",
    "raises": "traceback", "hangs": "hang", "slow": "hang", "silent": "silent", "guarded": "ok",
    "memory": "memory", "tebibyte": "memory", "dies": "died",
}  # fmt: skip
