"""The command line of `experiments.torch_compare`; see the package."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from typing import Any

import jax

import experiments.torch_compare as package
from experiments.torch_compare.compare import Pair, compare, summarize
from experiments.torch_compare.numerics import Numerics
from mpjax.cli.arguments import train_config
from mpjax.cli.main import parse
from mpjax.config.recorded import as_dict
from mpjax.config.resolve import resolve
from mpjax.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Prints a line every few steps and a summary; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.torch_compare",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--float64", action="store_true", help="both sides in double precision")
    parser.add_argument("--dropout", action="store_true", help="train with dropout")
    parser.add_argument("--until", type=int, help="stop after this many steps of the run")
    parser.add_argument("--score", action="store_true", help="score both on the dev set at the end")
    parser.add_argument("--torch-device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", help="write settings, every step and versions to this file")
    args, rest = parser.parse_known_args(argv)
    try:
        config = resolve(train_config(parse(["train", "--output", "unused", *rest])))
        with jax.enable_x64(args.float64):
            return _run(Pair.prepare(config), args)
    except InputError as error:
        print(f"experiments.torch_compare: error: {error}", file=sys.stderr)
        return 2


def _run(pair: Pair, args: argparse.Namespace) -> int:
    total = pair.job.length.total_steps
    until = min(args.until or total, total)
    numerics = Numerics(
        "float64" if args.float64 else "float32", dropout=args.dropout, device=args.torch_device
    )
    records, every = [], max(1, until // 20)
    print(f"{'step':>6} {'loss, jax':>12} {'torch':>12} {'density':>9} {'masks differ':>13}")
    for record in compare(pair, until, numerics, score=args.score):
        records.append(record)
        if "step" in record and (record["step"] % every == 0 or record["step"] == until):
            print(
                f"{record['step']:>6} {record['jax_loss']:>12.8f} {record['torch_loss']:>12.8f} "
                f"{record['jax_density']:>9.4f} {record['masks_differing']:>13}",
                flush=True,
            )
    summary = summarize(records)
    print(json.dumps(summary, indent=1))
    if args.json:
        with open(args.json, "w") as file:
            about = _about(pair, args)
            json.dump({**about, "summary": summary, "records": records}, file, indent=1)
    return 0


def _about(pair: Pair, args: argparse.Namespace) -> dict[str, Any]:
    """Settings, versions and devices of a comparison."""
    names = ("jax", "optax", "torch", "transformers")
    return {
        "config": as_dict(pair.config),
        "float64": args.float64,
        "dropout": args.dropout,
        "versions": {name: version(name) for name in names},
        "machine": platform.machine(),
        "devices": {"jax": jax.devices()[0].device_kind, "torch": args.torch_device},
    }


if __name__ == "__main__":
    sys.exit(main())
