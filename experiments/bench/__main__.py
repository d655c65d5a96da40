"""The command line of `experiments.bench`; see the package."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import experiments.bench as package
from experiments.bench.programs import RULES_TIMED, SIZES
from mpjax.config.mesh import parse_mesh
from mpjax.errors import InputError
from mpjax.hostmemory import keep_freed_memory
from mpjax.runs.provenance import provenance
from mpjax.sparse import wait_asleep


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark and prints its table."""
    args = build_parser().parse_args(argv)
    if not args.give_back_memory:
        keep_freed_memory()  # as a run does
    try:
        result = BENCHMARKS[args.benchmark](args)
    except InputError as error:
        print(f"experiments.bench: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        about = {"provenance": {**provenance(), "cpus": os.cpu_count()}}
        with open(args.json, "w") as file:
            json.dump(about | {"result": result}, file, indent=1)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("benchmark", choices=BENCHMARKS)
    add("--shape", default="768,3072", help="of the matrix (selection)")
    add("--density", type=float, help="(selection, footprint: 0.1; shrink: 0.25; pack: 0.06)")
    add("--model", choices=SIZES, default="base", help="(all but selection, plan and data)")
    add("--batch", type=int, default=16, help="rows (step, torch, compile, shrink)")
    add("--length", type=int, default=128, help="tokens per row (as --batch; sparse, data)")
    add(
        "--batches",
        default="1,8",
        help="rows, one after the other (sparse, step_memory: %(default)s)",
    )
    add("--densities", default="0.03,0.05,0.1", help="(sparse: %(default)s)")
    add("--rows", type=_numbers, default="1000,10000,100000,1000000", help="of data sets (data)")
    add("--rules", type=_words, help=f"(step, torch, compile: {RULES_TIMED}; plan: two of them)")
    add("--rounds", type=int, default=9, help="(selection, step, torch, sparse)")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of products (step, torch)",
    )
    add(
        "--peak-tflops",
        type=float,
        help="of the device in that type: prints the share used (torch)",
    )
    add("--mesh", default="data=1", help="of devices, as of mpjax train (step_memory)")
    add("--give-back-memory", action="store_true", help="as glibc does, unlike the mpjax command")
    add("--full-effort", action="store_true", help="compile as a run does (plan)")
    add("--json", help="also write the numbers to this file")
    return parser


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _rules(args: argparse.Namespace) -> list[str]:
    return args.rules or _words(RULES_TIMED)


# Each imports its benchmark when called: that of PyTorch needs an extra.


def _selection(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import selection

    shape = tuple(int(n) for n in args.shape.split(","))
    return selection.run(shape, args.density or 0.1, args.rounds)


def _step(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import step

    work = step.Workload(args.model, args.batch, args.length, args.dtype)
    return step.run(work, _rules(args), args.rounds)


def _torch(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import beside_torch

    peak = args.peak_tflops and 1e12 * args.peak_tflops
    setting = beside_torch.Setting(
        SIZES[args.model], args.batch, args.length, dtype=args.dtype, peak=peak
    )
    return beside_torch.run(setting, _rules(args), args.rounds)


def _compile(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import compilation

    return compilation.run(args.model, args.batch, args.length, _rules(args))


def _shrink(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import shrink

    return shrink.run(SIZES[args.model], args.density or 0.25, args.batch, args.length)


def _sparse(args: argparse.Namespace) -> dict[str, Any]:
    wait_asleep()
    from experiments.bench import sparse

    sizes = [int(size) for size in _words(args.batches)]
    densities = [float(density) for density in _words(args.densities)]
    return sparse.run(sparse.Setting(SIZES[args.model], sizes, args.length, densities, args.rounds))


def _pack(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import pack

    return pack.run(SIZES[args.model], args.density or 0.06)


def _plan(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import plan

    rules = args.rules or ["movement", "soft_movement"]
    return plan.run("bert-base-uncased", rules, args.full_effort)


def _data(args: argparse.Namespace) -> Any:
    from experiments.bench import data

    return data.run(args.rows, args.length)


def _footprint(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import footprint

    return footprint.run(SIZES[args.model], args.density or 0.1)


def _step_memory(args: argparse.Namespace) -> dict[str, Any]:
    from experiments.bench import step_memory

    rules = args.rules or ["movement"]
    batches, split = _numbers(args.batches), parse_mesh(args.mesh)
    return step_memory.run(SIZES[args.model], batches, args.length, rules[0], split)


BENCHMARKS = {
    "selection": _selection,
    "step": _step,
    "torch": _torch,
    "compile": _compile,
    "shrink": _shrink,
    "sparse": _sparse,
    "pack": _pack,
    "plan": _plan,
    "data": _data,
    "footprint": _footprint,
    "step_memory": _step_memory,
}

if __name__ == "__main__":
    sys.exit(main())
