"""Lines at the end of a command: where the result is, how good it is, what to do with it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from mpjax.config.checks import DENSE
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.log import log

Steps = list[tuple[str, str]]  # purpose and command


def say_next(args: argparse.Namespace) -> None:
    """Says the next steps after a command, as notes on stderr; nothing after one that has none."""
    steps = _STEPS[args.command](args) if args.command in _STEPS else []
    width = max((len(purpose) for purpose, _ in steps), default=0)
    for purpose, command in steps:
        log.info("%s  %s", f"{purpose}:".ljust(width + 1), command)


def _mpjax(*words: str) -> str:
    """Command, its words quoted for a shell; capitals in angle brackets stand for one's own."""
    return " ".join(["mpjax", *(word if word.isupper() else shlex.quote(word) for word in words)])


def _after_train(args: argparse.Namespace) -> Steps:
    """Score of the run beside the dense ones, and commands for it."""
    if not getattr(args, "leads", True):
        return []
    run = args.output
    return [*_standing(Path(run).expanduser()), *_of_model(run), *_small(args)]


def _standing(run: Path) -> Steps:
    """Where a finished run is, and its score beside those of its teacher and a dense run."""
    from mpjax.cards.comparison import compared
    from mpjax.files import read_object
    from mpjax.report.table import percent
    from mpjax.runs.folder import RunDir

    folder = RunDir(run)
    try:
        result, options = read_object(folder.result), read_object(folder.config)
    except InputError:
        return []
    metric = result["metric"]
    others = [f"{one.role} {one.score:.1f} ({one.run})" for one in compared(run, options, metric)]
    score = f"{metric} {result['score'][metric]:.1f}"
    left = f"{percent(result['linear_density'])} of the weights"
    return [("result", str(run)), ("score", ", ".join([f"{score} with {left}", *others]))]


def _evaluate(model: str) -> str:
    """Command to score a model; a run knows its task and data, a folder does not."""
    task = () if is_run(Path(model).expanduser()) else ("--task", "TASK", "--data", "DATA")
    return _mpjax("evaluate", "--model", model, *task)


def _of_model(model: str) -> Steps:
    return [
        ("look", _mpjax("inspect", model)),
        ("evaluate", _evaluate(model)),
        ("share", _mpjax("push", model, "OWNER/NAME")),
    ]


def _small(args: argparse.Namespace) -> Steps:
    """Shrinking where whole heads or units may be gone, packing otherwise; nothing for dense."""
    run, structure = args.output, getattr(args, "structure", "element")
    if "heads" in structure or "hybrid" in structure or "units" in structure:
        return [("shrink", _mpjax("shrink", run, "--output", "DIR", "--measure"))]
    if getattr(args, "method", DENSE) == DENSE and "method" in args.given:
        return [("prune it", _mpjax("train", "--model", f"{run}/model", "--density", "0.1", "..."))]
    return [("store small", _mpjax("pack", run, "--output", "model.mpz"))]


def _after_export(args: argparse.Namespace) -> Steps:
    card = Path(args.output).expanduser() / "README.md"
    return [
        *([("card", f"{card}, edit it as you like")] if card.is_file() else []),
        ("look", _mpjax("inspect", args.output)),
        ("share", _mpjax("push", args.output, "OWNER/NAME")),
    ]


def _after_file(args: argparse.Namespace) -> Steps:
    """After shrink, pack and unpack, whose result is the output."""
    return [("result", args.output), *_of_model(args.output)]


def _after_push(args: argparse.Namespace) -> Steps:
    return [
        ("look", _mpjax("inspect", args.repository)),
        ("load", f'mpjax.load_model("{args.repository}", HEAD), or transformers as the card says'),
    ]


def _after_sweep(args: argparse.Namespace) -> Steps:
    return [
        ("result", args.output),
        ("look", _mpjax("inspect", f"{args.output}/members/MEMBER")),
        ("share", _mpjax("push", f"{args.output}/members/MEMBER", "OWNER/NAME")),
    ]


def _after_inspect(args: argparse.Namespace) -> Steps:
    return [
        ("evaluate", _evaluate(args.folder)),
        ("shrink", _mpjax("shrink", args.folder, "--output", "DIR", "--measure")),
    ]


def _after_evaluate(args: argparse.Namespace) -> Steps:
    return [
        ("look", _mpjax("inspect", args.model)),
        ("share", _mpjax("push", args.model, "OWNER/NAME")),
    ]


def _after_plan(args: argparse.Namespace) -> Steps:
    if not args.fits:  # the table names what helps
        return []
    return [("train", "mpjax train with the same options, --data and --output")]


def _fixed(*steps: tuple[str, str]) -> Callable[[argparse.Namespace], Steps]:
    return lambda args: list(steps)


_STEPS: dict[str, Callable[[argparse.Namespace], Steps]] = {
    "train": _after_train,
    "sweep": _after_sweep,
    "evaluate": _after_evaluate,
    "inspect": _after_inspect,
    "export": _after_export,
    "shrink": _after_file,
    "pack": _after_file,
    "unpack": _after_file,
    "push": _after_push,
    "recipes": _fixed(("use one", "mpjax train --recipe NAME --density 0.1 ...")),
    "plan": _after_plan,
    "score": _fixed(("from a model", "mpjax evaluate --model MODEL --predictions FILE")),
}
