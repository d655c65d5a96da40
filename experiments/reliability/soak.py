"""Memory of a long run over its steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.reliability import originals
from mpjax.errors import InputError

_MOST_GROWTH = 0.02  # of the memory after a fifth of the steps
_EVERY = 1.0  # seconds


def soak(root: Path, steps: int) -> dict[str, Any]:
    """Resident memory of one `mpjax train` process, by step; it must not grow after a fifth.

    Only the steps count: after the last the model is written and read again, which takes more.
    """
    output = root / "soaked"
    words = originals.train_words(root, output, "--steps", str(steps), "--checkpoint-every", "50",
                                  "--eval-every", "100", "--log-every", "10")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mpjax", *words],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    curve: list[tuple[int, int]] = []  # step, bytes
    while process.poll() is None:
        step, memory = _step(output / "metrics.jsonl"), _resident(process.pid)
        if step and memory:
            curve.append((step, memory))
        time.sleep(_EVERY)
    if process.returncode:
        raise InputError(f"the long run in {output} ended with status {process.returncode}")
    settled = [memory for step, memory in curve if steps / 5 <= step < steps]
    if len(settled) < 2:
        raise InputError(f"--steps {steps} end too soon to see a curve; give more")
    growth = settled[-1] / settled[0] - 1
    return {
        "steps": steps,
        "first_mb": round(settled[0] / 1e6),
        "last_mb": round(settled[-1] / 1e6),
        "most_mb": round(max(settled) / 1e6),
        "growth": round(growth, 4),
        "curve_mb": [[step, round(memory / 1e6)] for step, memory in _thin(curve)],
        "failures": ["growth"] if growth > _MOST_GROWTH else [],
    }


def _thin(curve: list[tuple[int, int]], most: int = 50) -> list[tuple[int, int]]:
    return curve[:: max(1, len(curve) // most)]


def _step(path: Path) -> int:
    """Newest step that is recorded; 0 before the first."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    whole = [line for line in lines[-2:] if line.endswith(b"}")]
    return json.loads(whole[-1])["step"] if whole else 0


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
