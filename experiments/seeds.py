"""Agreement of finished runs of one recipe that differ in the seed: the effect of chance alone.

    python -m experiments.seeds RUN RUN [RUN ...]

For every pair: the correlation of the final scores, the share of each run's kept weights that the
other keeps too, and the scores of both on the dev set. JSON on stdout. A comparison of two programs
(`experiments.torch_compare`) means little where it is not closer than this.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.torch_compare.compare import score_differences
from mpjax import models
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.pruning import flatten, select
from mpjax.runs.checkpoints import read_latest
from mpjax.runs.folder import RunDir


def read(folder: str) -> dict[str, Any]:
    """Options, result, kept weights and final scores of a finished run.

    Raises:
      InputError: no finished run there.
    """
    run = RunDir(Path(folder))
    result = run.read_result() if is_run(folder) else None
    if result is None:
        raise InputError(f"{folder} is no finished run of mpjax train; give two of them or more")
    model = models.load_model(run.model, models.stored_head(run.model))
    kernels = flatten(select(model.params, models.PRUNABLE))
    return {
        "options": read_object(run.config),
        "result": result,
        "kept": {name: np.asarray(kernel) != 0 for name, kernel in kernels.items()},
        "scores": flatten(read_latest(run.checkpoints)["scores"] or {}),
    }


def check_recipe(runs: list[dict[str, Any]]) -> None:
    """`InputError` for runs whose options differ, seed, output and cache aside."""
    first, *others = (run["options"] for run in runs)
    for options in others:
        differing = [
            f"{name} {first[name]!r} and {options.get(name)!r}"
            for name in first
            if name not in ("seed", "output", "cache") and options.get(name) != first[name]
        ]
        if differing:
            raise InputError(f"runs of different recipes: {'; '.join(differing)}")


def agreement(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Scores, densities and kept weights of two runs, and the agreement of the last two."""
    pairs = [(mask, other["kept"][name]) for name, mask in one["kept"].items()]
    both = sum(int(np.sum(here & there)) for here, there in pairs)
    sizes = [sum(int(np.sum(mask)) for mask in run["kept"].values()) for run in (one, other)]
    found: dict[str, Any] = {
        "seeds": [run["options"]["seed"] for run in (one, other)],
        "scores": [run["result"]["score"] for run in (one, other)],
        "linear_density": [run["result"]["linear_density"] for run in (one, other)],
        "kept_by_both": [both / max(size, 1) for size in sizes],
        "mask_entries_differing": sum(sizes) - 2 * both,
    }
    if one["scores"]:
        found |= score_differences(one["scores"], other["scores"])
    return found


def main(argv: list[str] | None = None) -> int:
    """Prints a record per pair; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.seeds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a finished run folder")
    try:
        folders = parser.parse_args(argv).runs
        if len(folders) < 2:
            raise InputError("one run cannot be compared; give two or more")
        runs = [read(folder) for folder in folders]
        check_recipe(runs)
        print(json.dumps([agreement(*pair) for pair in itertools.combinations(runs, 2)], indent=1))
    except InputError as error:
        print(f"experiments.seeds: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
