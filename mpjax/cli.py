"""The command line: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mpjax.arguments import (
    PLANNED,
    add_evaluate,
    add_field,
    add_packing,
    add_plan,
    add_processes,
    add_score,
    add_shrink,
    add_sweep,
    add_threshold,
    run_config,
    sweep_options,
)
from mpjax.errors import InputError
from mpjax.hostmemory import keep_freed_memory
from mpjax.training.config import TrainConfig
from mpjax.training.options import option

EXAMPLES = {
    "quickstart": "mpjax quickstart",
    "train": "mpjax train --model google-bert/bert-base-uncased --task sst2 --data glue/SST-2 \\\n"
    "    --method movement --density 0.10 --output runs/sst2-movement-10",
    "plan": "mpjax plan --topology v5e:4x4 --model bert-base-uncased --task squad \\\n"
    "    --batch-size 256 --max-length 384 --mesh fsdp=16 --dtype bfloat16 --scan-layers",
    "sweep": "mpjax sweep --model google-bert/bert-base-uncased --task sst2 --data glue/SST-2 \\\n"
    "    --method movement --density 0.15,0.10,0.05,0.03 --seeds 0,1,2 --output runs/sst2-curve",
    "evaluate": "mpjax evaluate --model runs/sst2-movement-10 --task sst2 --data glue/SST-2",
    "score": "mpjax score --task squad --data squad/dev-v1.1.json --predictions predictions.json",
    "inspect": "mpjax inspect runs/sst2-movement-10",
    "export": "mpjax export runs/sst2-movement-10 --output sst2-model",
    "shrink": "mpjax shrink runs/sst2-hybrid --output sst2-small --measure",
    "pack": "mpjax pack runs/sst2-movement-10 --int8 --embeddings int8 --output model.mpz",
    "unpack": "mpjax unpack model.mpz --output sst2-model",
}
HELP = {
    "quickstart": "the whole of it on a small built-in language, in minutes, without any data",
    "train": "fine-prune (or fine-tune) a pretrained model; the same command again continues",
    "plan": "memory, time and traffic of a step on a TPU slice, compiled for it without one",
    "sweep": "train many densities, λ, learning rates and seeds as one program; table and plot",
    "evaluate": "score a run or a model folder; JSON on stdout",
    "score": "score a file of predictions by the official metrics; JSON on stdout",
    "inspect": "what is left of an encoder, per layer and per matrix type",
    "export": "write a run's model as a plain Hugging Face folder",
    "shrink": "remove the heads and FFN units that cannot contribute: the same logits, faster",
    "pack": "write the kept weights of a model as one small file; mpjax reads it like a folder",
    "unpack": "write a packed model as a plain Hugging Face folder",
}


class _Parser(argparse.ArgumentParser):
    """Raises InputError instead of leaving the process, so that all mistakes read alike."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see: {self.prog} --help)")


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands by name."""
    parser = _Parser(
        prog="mpjax",
        allow_abbrev=False,
        description="Movement pruning of pretrained transformers in JAX and Flax.",
        epilog="mpjax COMMAND --help shows the options of a command. Start with: mpjax quickstart",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    known = {
        name: commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for name, text in HELP.items()
    }
    cache = next(f for f in dataclasses.fields(TrainConfig) if f.name == "cache")
    for field in dataclasses.fields(TrainConfig):
        add_field(known["train"], field)
    add_processes(known["train"])
    add_sweep(known["sweep"])
    add_plan(known["plan"])
    add_field(known["quickstart"], cache)
    known["quickstart"].add_argument(
        "--output", default="quickstart", help="folder for the runs (default: %(default)s)"
    )
    add_evaluate(known["evaluate"])
    add_score(known["score"])
    known["inspect"].add_argument("folder", metavar="RUN_OR_MODEL_DIR")
    known["inspect"].add_argument("--json", action="store_true", help="print JSON, not a table")
    add_threshold(known["inspect"])
    known["export"].add_argument("run", metavar="RUN_OR_MODEL_DIR")
    known["export"].add_argument("--output", help="new folder for the model (required)")
    known["export"].add_argument(
        "--with-scores",
        action="store_true",
        help="of a run: unmasked weights and scores, as the published PyTorch code saves them",
    )
    add_threshold(known["export"])
    add_shrink(known["shrink"])
    add_packing(known["pack"], known["unpack"])
    return parser, dict(known)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments as a namespace; InputError proposes the option that was probably meant."""
    parser, known = build_parser()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = known[args.command]._option_string_actions if args.command else ["--version"]
        wrong = next((word for word in unknown if word.startswith("-")), unknown[0])
        near = difflib.get_close_matches(wrong.split("=")[0], flags, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see: mpjax {args.command or ''} --help"
        raise InputError(f"unknown option {wrong}; {hint}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for a mistake in the input, 128 + signal."""
    notes = logging.StreamHandler(sys.stderr)  # of this call: stdout is for results
    notes.setFormatter(logging.Formatter("mpjax: %(message)s"))
    log = logging.getLogger("mpjax")
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    log.propagate = False  # libraries give the root logger handlers of their own
    keep_freed_memory()  # before JAX starts its threads
    try:
        args = parse(argv)
        if args.version:
            import importlib.metadata

            print(importlib.metadata.version("mpjax"))
        elif args.command is None:
            build_parser()[0].print_help()
        else:
            COMMANDS[args.command](args)
        sys.stdout.flush()
    except InputError as error:
        print(f"mpjax: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"mpjax: {stop or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(stop, "signal", signal.SIGINT)
    except BrokenPipeError:
        # The reader has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    finally:
        log.removeHandler(notes)
        log.propagate = True
    return 0


def _quickstart(args: argparse.Namespace) -> None:
    from mpjax.quickstart import quickstart

    _use_cache(args.cache)
    quickstart(args.output, cache=args.cache, show=lambda text: print(text, flush=True))


def _train(args: argparse.Namespace) -> None:
    from mpjax.training.config import resolve

    config = resolve(run_config(args))  # most mistakes end here, before the slow imports
    from mpjax.training.processes import first, joined

    with joined(args.coordinator, args.processes, args.process_id):
        from mpjax.training.loop import train

        _use_cache(args.cache)
        result = train(config)
        if first():
            print(json.dumps(result, indent=2))


def _plan(args: argparse.Namespace) -> None:
    _require(args.topology, "--topology", "plan")
    from mpjax.planning.plan import plan_step
    from mpjax.planning.show import table, to_json

    made = plan_step(
        {name: getattr(args, name) for name in PLANNED}, args.topology, args.full_effort
    )
    print(json.dumps(to_json(made), indent=2) if args.json else table(made))


def _sweep(args: argparse.Namespace) -> None:
    base, axes = sweep_options(args)
    from mpjax.training.processes import refuse

    refuse("sweep")
    from mpjax.report import curve
    from mpjax.training.sweep import sweep

    _use_cache(args.cache)
    rows = sweep(
        base, axes, devices=args.devices, members_at_once=args.members_at_once,
        memory=args.memory and args.memory * 1e9,
    )  # fmt: skip
    print(curve.table(rows, list(axes)))
    output, log = Path(base.output).expanduser(), logging.getLogger("mpjax")
    try:
        log.info("the curve: %s", curve.draw(rows, list(axes), output / "curve.png"))
    except InputError as error:
        log.warning("no picture: %s", error)
    log.info("a row for each member: %s", output / "result.json")


def _evaluate(args: argparse.Namespace) -> None:
    _require(args.model, "--model", "evaluate")
    from mpjax.training.evaluate import evaluate

    _use_cache(args.cache)
    scores = evaluate(
        args.model, args.task, args.data, batch_size=args.batch_size, max_length=args.max_length,
        limit=args.limit, dtype=args.dtype, cache=args.cache, predictions=args.predictions,
        threshold=args.threshold,
    )  # fmt: skip
    print(json.dumps(scores, indent=2))


def _score(args: argparse.Namespace) -> None:
    for name in ("task", "predictions"):
        _require(getattr(args, name), f"--{name}", "score")
    from mpjax.tasks.scoring import score_file

    print(json.dumps(score_file(args.task, args.data, args.predictions), indent=2))


def _inspect(args: argparse.Namespace) -> None:
    from mpjax.export.inspect import inspect_model

    density = inspect_model(args.folder, args.threshold)
    print(json.dumps(density.to_json(), indent=2) if args.json else density.table())


def _export(args: argparse.Namespace) -> None:
    _require(args.output, "--output", "export")
    from mpjax.export import export_model, export_with_scores

    if not args.with_scores:
        print(export_model(args.run, args.output, threshold=args.threshold))
        return
    if args.threshold is not None:
        raise InputError("--threshold does not apply with --with-scores: the run knows its own")
    print(export_with_scores(args.run, args.output))


def _shrink(args: argparse.Namespace) -> None:
    _require(args.output, "--output", "shrink")
    from mpjax.export import measure_latency, shrink_model

    for name in ("batch_size", "max_length"):
        if getattr(args, name) < 1:
            raise InputError(f"{option(name)} is {getattr(args, name)}; it must be at least 1")
    longest = args.max_length if args.measure else None
    removed, masked, shrunk = shrink_model(
        args.model, args.output, threshold=args.threshold, longest=longest
    )
    parts: dict[str, Any] = {"removed": removed}
    if args.measure:
        parts["latency"] = measure_latency(masked, shrunk, args.batch_size, args.max_length)
    if args.json:
        print(json.dumps({name: part.to_json() for name, part in parts.items()}, indent=2))
    else:
        print("\n\n".join(part.table() for part in parts.values()))


def _pack(args: argparse.Namespace) -> None:
    _require(args.output, "--output", "pack")
    from mpjax.export import measure_packed, pack_model

    packed = pack_model(args.model, args.output, int8=args.int8, embeddings=args.embeddings)
    sizes = measure_packed(packed, os.path.getsize(args.output))
    print(json.dumps(sizes.to_json(), indent=2) if args.json else sizes.table())


def _unpack(args: argparse.Namespace) -> None:
    _require(args.output, "--output", "unpack")
    from mpjax.export import unpack_model

    print(unpack_model(args.file, args.output))


def _use_cache(choice: str | None) -> None:
    from mpjax.training.cache import cache_folder, use_compiled_programs

    use_compiled_programs(cache_folder(choice))


def _require(value: object, flag: str, command: str) -> None:
    if not value:
        raise InputError(f"{flag} is missing (see: mpjax {command} --help)")


COMMANDS = {
    "quickstart": _quickstart,
    "train": _train,
    "plan": _plan,
    "sweep": _sweep,
    "evaluate": _evaluate,
    "score": _score,
    "inspect": _inspect,
    "export": _export,
    "shrink": _shrink,
    "pack": _pack,
    "unpack": _unpack,
}
