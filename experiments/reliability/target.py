"""A reader under test, the files that it reads, and the class of what it does with damaged ones."""

from __future__ import annotations

import hashlib
import random
import re
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.reliability.mutations import Spoiler
from mpjax.errors import InputError

HANG = 10.0  # seconds that a reader may take
MEMORY = 500_000_000  # bytes that it may take beyond three times the file
LONGEST = 600  # characters of a message
# All but the first two are failures.
OUTCOMES = ("ok", "refused", "unclear", "traceback", "hang", "silent", "memory", "died")


class Target(NamedTuple):
    """One reader.

    Attributes:
      make: writes sound files to a folder; its second argument is the root of all targets.
      spoil: glob of files that are damaged, and how.
      read: reads the folder; equal values mean the same.
      share: part of all inputs, relative to the other targets.
      guarded: the damaged bytes carry a checksum, so that another value is a silent change.
      older: changes a copy of the sound files to a state that a reader may fall back to.
      seconds: longest time of a read, where it trains.
    """

    make: Callable[[Path, Path], object]
    spoil: Mapping[str, Spoiler]
    read: Callable[[Path, Path], Any]
    share: float
    guarded: bool = False
    older: Callable[[Path], None] | None = None
    seconds: float = HANG


class Outcome(NamedTuple):
    """One of `OUTCOMES`, the message, what was damaged, and the cost."""

    kind: str
    message: str
    file: str
    seconds: float
    memory: int  # bytes above those in use before


class Bench:
    """Sound files of one target, and a scratch copy in which they are damaged."""

    def __init__(self, name: str, target: Target, root: Path) -> None:
        self.name, self.target, self.root = name, target, root
        self.sound, self.scratch = root / "sound" / name, root / "scratch" / name
        if not self.sound.exists():
            shutil.rmtree(made := root / "making" / name, ignore_errors=True)
            made.mkdir(parents=True)
            target.make(made, root)
            self.sound.parent.mkdir(exist_ok=True)
            made.rename(self.sound)
        self.accepted = set(self._accepted())

    def spoil(self, seed: int, number: int) -> tuple[str, bytes]:
        """Path below the folder and new content of the file that is damaged."""
        rng = random.Random(f"{seed} {self.name} {number}")
        pattern, spoiler = rng.choice(sorted(self._patterns().items()))
        files = self._files(pattern)
        # Every file has its turn, and every byte: the largest files hold what matters most.
        sizes = [path.stat().st_size for path in files]
        path = rng.choice(files) if rng.random() < 0.5 else rng.choices(files, sizes)[0]
        before = path.read_bytes()
        for _ in range(20):  # damage that changes nothing is none
            if (after := spoiler(rng, before)) != before:
                break
        return str(path.relative_to(self.sound)), after

    def _patterns(self) -> dict[str, Spoiler]:
        """Patterns that match a sound file; a table of them may serve several targets."""
        return {p: spoiler for p, spoiler in self.target.spoil.items() if self._files(p)}

    def _files(self, pattern: str) -> list[Path]:
        return sorted(path for path in self.sound.glob(pattern) if path.is_file())

    def outcome(self, file: str, content: bytes) -> Outcome:
        """Reads the files, one of them with another content."""
        self._copy()
        (self.scratch / file).write_bytes(content)
        before, start = _start_peak(), time.perf_counter()
        kind, message = self._read()
        seconds, memory = time.perf_counter() - start, _peak() - before
        if kind in ("ok", "refused", "unclear"):
            if memory > MEMORY + 3 * max(len(content), 1):
                kind, message = "memory", f"took {memory / 1e6:.0f} MB; {message}"
            elif seconds > self.target.seconds:
                kind, message = "hang", f"took {seconds:.1f} s; {message}"
        return Outcome(kind, message, file, seconds, memory)

    def _read(self) -> tuple[str, str]:
        try:
            value = self.target.read(self.scratch, self.root)
        except InputError as error:
            return ("refused" if _clear(str(error), self.scratch) else "unclear"), str(error)
        except MemoryError as error:
            return "memory", f"MemoryError: {error}"
        except (Exception, SystemExit) as error:
            return "traceback", _place(error)
        said = getattr(value, "text", "")
        known = digest(value) in self.accepted
        return ("silent" if self.target.guarded and not known else "ok"), said

    def _accepted(self) -> Iterator[str]:
        self._copy()
        yield digest(self.target.read(self.scratch, self.root))
        if self.target.older is not None:
            self._copy()
            self.target.older(self.scratch)
            yield digest(self.target.read(self.scratch, self.root))

    def _copy(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.sound, self.scratch)


def digest(value: Any) -> str:
    """Hash of nested JSON values, arrays and bytes; of a `Said` its value alone.

    >>> digest({"a": [1.0]}) == digest({"a": [1.0]}) != digest({"a": [1]})
    True
    """
    made = hashlib.sha256()
    for part in _parts(value.value if hasattr(value, "text") else value):
        made.update(part)
    return made.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield repr(key).encode()
            yield from _parts(value[key])
    elif isinstance(value, list | tuple):
        yield f"list of {len(value)}".encode()
        for one in value:
            yield from _parts(one)
    elif hasattr(value, "dtype"):
        array = np.asarray(value)
        yield f"{array.dtype} {array.shape}".encode()
        yield array.tobytes()
    else:
        yield repr(value).encode()


def _clear(message: str, folder: Path) -> bool:
    """Whether a message is one short line that names an option, a file or the value found."""
    short = 0 < len(message) < LONGEST and len(message.splitlines()) == 1
    places = r"(^|\s)-|\w[./]\w|'.*'|model folder|^\S+ (is not? |cannot be )|does not exist"
    named = str(folder) in message or re.search(places, message)
    return bool(short and named and message.isprintable())


def _place(error: BaseException) -> str:
    """Type and message of an error, and the last line of mpjax that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "mpjax" in f.filename or "/parity/" in f.filename]
    last = (ours or frames)[-1]
    text = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__} in {Path(last.filename).name} {last.name}: {text}"


def _start_peak() -> int:
    """Makes the kernel forget the highest memory use so far; returns the present one."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return max(_status("VmHWM"), _status("VmRSS"))


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status; elsewhere the highest memory use."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
