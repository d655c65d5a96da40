"""Real SIGKILLs: a command is killed and given again until it ends, and compared byte for byte."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.reliability import originals
from experiments.reliability.variants import VARIANTS, Variant
from mpjax.errors import InputError

_PER_RUN = 4  # kills before a run may end
_LONGEST = 600.0  # seconds of one session
_POLL = 0.004


class Session(NamedTuple):
    """One process: exit status (None = killed), seconds to its first file, seconds, new names."""

    status: int | None
    first: float
    seconds: float
    names: int
    error: str


def kills(root: Path, count: int, seed: int, only: list[str]) -> dict[str, Any]:
    """Kills every variant `count` times; equal and different files by variant."""
    if unknown := set(only) - VARIANTS.keys():
        raise InputError(f"--variants {', '.join(unknown)}: choose from {', '.join(VARIANTS)}")
    made = originals.base(root)
    if not (made / "dropout").exists():
        originals.save_model(made / "dropout", "classification", hidden_dropout_prob=0.5)
    found = {}
    for name in only or VARIANTS:
        found[name] = _one(VARIANTS[name], root, count, random.Random(f"{seed} {name}"))
        print(f"{name:<16}{_line(found[name])}", flush=True)
    failures = [name for name, one in found.items() if one["different"] or one["leftovers"]]
    total = sum(one["kills"] for one in found.values())
    return {"kills": total, "variants": found, "failures": failures, "seed": seed}


def _one(variant: Variant, root: Path, count: int, rng: random.Random) -> dict[str, Any]:
    """Kills one variant until there are `count`; half of them at random, half at a new file."""
    output, env = root / "killed", {**os.environ, "JAX_PLATFORMS": "cpu", **variant.env}
    command = variant.command(root, output)
    # The first run fills the cache of compiled programs, the second one is the one to equal.
    for _ in range(2):
        shutil.rmtree(output, ignore_errors=True)
        whole = run(command, output, env)
        if whole.status != 0:
            raise InputError(f"{' '.join(command)} ended with {whole.status}: {whole.error}")
    wanted = contents(output)
    report: dict[str, Any] = {
        "kills": 0, "at_files": 0, "runs": 0, "equal": 0, "different": 0, "leftovers": 0,
        "errors": [],
    }  # fmt: skip
    while report["kills"] < count:
        shutil.rmtree(output, ignore_errors=True)
        status: int | None = None
        left = min(_PER_RUN, count - report["kills"])
        for number in range(left + 1):
            stop = _moment(rng, whole) if number < left else None
            session = run(command, output, env, stop)
            status = session.status
            if status is not None:
                break
            report["kills"] += 1
            report["at_files"] += stop is not None and stop.names is not None
        report["runs"] += 1
        equal = status == 0 and contents(output) == wanted
        report["equal" if equal else "different"] += 1
        report["leftovers"] += len(list(leftovers(output)))
        if status != 0:
            report["errors"].append(session.error)
    return report


class Moment(NamedTuple):
    """Moment of a kill: after a number of new names, or after a number of seconds."""

    names: int | None
    seconds: float


def _moment(rng: random.Random, whole: Session) -> Moment:
    # In the first half: a continued run has less to do, and a kill after its end is none.
    if rng.random() < 0.5:
        return Moment(rng.randint(1, 1 + whole.names // 2), _LONGEST)
    middle = (whole.first + whole.seconds) / 2
    return Moment(None, rng.uniform(0.9 * whole.first, middle))


def run(
    command: Sequence[str], output: Path, env: dict[str, str], stop: Moment | None = None
) -> Session:
    """Runs a command, and kills it and its children at a moment."""
    errors = output.parent / "errors.log"
    seen, start, first = set(names(output)), time.perf_counter(), 0.0
    before = len(seen)
    with open(errors, "wb") as log:
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
        killed = False
        while process.poll() is None:
            seen.update(names(output))
            seconds, new = time.perf_counter() - start, len(seen) - before
            first = first or (seconds if new else 0.0)
            due = stop is not None and (
                seconds > stop.seconds or (stop.names is not None and new >= stop.names)
            )
            if due or seconds > _LONGEST:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed = True
            time.sleep(_POLL)
    last = errors.read_text(errors="replace").strip().splitlines()[-1:] or [""]
    status = None if killed else process.returncode
    seconds = time.perf_counter() - start
    return Session(status, first or seconds, seconds, max(len(seen) - before, 1), last[0][:300])


def names(folder: Path) -> Iterator[str]:
    """Names of everything below a folder that other processes write to."""
    waiting = [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:  # not there yet, or renamed meanwhile
            continue
        for entry in entries:
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def contents(output: Path) -> dict[str, str]:
    """Hash of every log of metrics and every model, by its path."""
    files = [*output.rglob("metrics.jsonl"), *output.rglob("model/*.safetensors")]
    inside = (path for path in files if "checkpoints" not in path.parts)
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in inside
    }


def leftovers(output: Path) -> Iterator[Path]:
    """Temporary files and folders of killed writers."""
    for path in output.rglob("*"):
        temporary = path.name.startswith(".") or "orbax-checkpoint-tmp" in path.name
        if temporary and path.name != ".lock":
            yield path


def _line(one: dict[str, Any]) -> str:
    words = [f"{one['kills']} kills ({one['at_files']} at a new file) in {one['runs']} runs",
             f"{one['equal']} equal", f"{one['different']} different"]  # fmt: skip
    words += [f"{one['leftovers']} leftovers"] if one["leftovers"] else []
    return ", ".join(words) + "".join(f"\n    {error}" for error in one["errors"])
