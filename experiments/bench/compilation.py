"""Compilation of a train step in a fresh process, with an empty and then a filled cache."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

CODE = """
import time, sys, jax
jax.config.update('jax_compilation_cache_dir', sys.argv[1])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
from experiments.bench.programs import SIZES, build
step, state, batch = build(sys.argv[2], SIZES[sys.argv[3]], *map(int, sys.argv[4:6]))
jax.block_until_ready(state)
start = time.perf_counter()
lowered = step.lower(state, batch)
middle = time.perf_counter()
lowered.compile()
print(middle - start, time.perf_counter() - middle)
"""


def run(size: str, batch_size: int, length: int, rules: list[str]) -> dict[str, Any]:
    """Seconds to trace and to compile the step of every rule, twice over one persistent cache."""
    result = {}
    print(f"BERT-{size}, {batch_size} x {length}: seconds to trace and to compile the step")
    for name in rules:
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                argv = [sys.executable, "-c", CODE, cache, name, size, str(batch_size), str(length)]
                out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
                trace, compile_time = map(float, out.split())
                print(f"{name:<24}{kind:<6}{trace:>8.2f} s trace {compile_time:>8.2f} s compile")
                result[f"{name} {kind}"] = {"trace": trace, "compile": compile_time}
    return result
