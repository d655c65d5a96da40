"""Provenance of a run: versions, commit, devices, command."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.log import log
from mpjax.runs.folder import RunDir

PACKAGES = (
    "mpjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "tokenizers",
    "datasets", "safetensors", "numpy",
)  # fmt: skip


def provenance(start_step: int = 0) -> dict[str, Any]:
    """Record of one session: time, first step, command, commit, versions, hardware."""
    import jax

    devices = jax.devices()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from_step": start_step,
        "command": sys.argv,
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions()},
        "hardware": {
            "platform": platform.platform(),
            "processor": processor(),
            "devices": len(devices),
            "device": devices[0].device_kind,
            "processes": jax.process_count(),
        },
    }


def record(run: RunDir, start_step: int, changes: Mapping[str, Any] | None = None) -> None:
    """Appends this session to `provenance.json`; a damaged file is put aside, and said so.

    Args:
      changes: options that differ from the sessions before, by name: [then, now].
    """
    session = {**provenance(start_step), **({"changes": dict(changes)} if changes else {})}
    write_json(run.provenance, {"sessions": [*_sessions(run.provenance), session]})


def _sessions(path: Path) -> list[Any]:
    """Sessions recorded so far."""
    if not path.is_file():
        return []
    try:
        found = read_object(path).get("sessions")
    except InputError:
        found = None
    if isinstance(found, list):
        return found
    aside = path.with_suffix(".damaged.json")
    log.warning("%s is damaged: moved to %s, the record starts anew", path, aside.name)
    path.replace(aside)
    return []


def versions() -> dict[str, str]:
    """Installed versions of the packages that influence numbers.

    >>> "jax" in versions()
    True
    """
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
            continue
    return found


def commit() -> str | None:
    """Commit of the checkout, with "+changes" if tracked files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "mpjax")
    except (OSError, subprocess.SubprocessError):  # no git here, or no commit yet
        return None
    return head + ("+changes" if changes else "")


def processor() -> str:
    """Name of the CPU as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *command], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
