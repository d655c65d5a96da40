"""Groups of options of the command line, and what they mean together. Imports nothing heavy."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import Any

from mpjax.errors import InputError
from mpjax.training.config import TrainConfig
from mpjax.training.options import methods, option

# What members of a sweep may differ in, and how it is spelled there.
SWEPT = {
    "density": "--density",
    "final_lambda": "--final-lambda",
    "learning_rate": "--learning-rate",
    "score_learning_rate": "--score-learning-rate",
    "seed": "--seeds",
}
_NOT_SWEPT = ("devices", "mesh", "tensorboard")


def add_field(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    """One option from a field of TrainConfig: its type, default and help."""
    flag, text = option(field.name), field.metadata["help"]
    kind: Any = typing.get_type_hints(TrainConfig)[field.name]
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    kind = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    choices = methods() if field.name == "method" else field.metadata.get("choices")
    if field.default not in (None, ""):
        text += (
            f" (default: {field.default:g})" if kind is float else f" (default: {field.default})"
        )
    metavar = (
        None if choices else field.name.upper() if kind is str else "N" if kind is int else "X"
    )
    parser.add_argument(
        flag, type=kind, default=field.default, choices=choices, metavar=metavar, help=text
    )


def run_config(args: argparse.Namespace) -> TrainConfig:
    """What ``train`` was asked for, without what only says how this process takes part in it."""
    return TrainConfig(**{f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)})


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Options of train, those of `SWEPT` with several values."""
    for field in dataclasses.fields(TrainConfig):
        if field.name in SWEPT:
            flag = SWEPT[field.name]
            text = "several, with commas: " + field.metadata["help"]
            text += "" if field.default is None else f" (default: {field.default:g})"
            parser.add_argument(flag, metavar="X,X,...", help=text)
        elif field.name not in _NOT_SWEPT:
            add_field(parser, field)
    parser.add_argument(
        "--devices", type=int, metavar="N", help="lay the members over the first N devices only"
    )
    parser.add_argument(
        "--members-at-once", type=int, metavar="N", help="train N together (default: all of them)"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GB", help="how much may be used (default: what is free)"
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Options that make this process one of several; no part of what a run is."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="train together with processes on other hosts: where number 0 runs, and a free port "
        "there (default: what SLURM or the TPU slice say)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="how many there are of them")
    parser.add_argument(
        "--process-id", type=int, metavar="N", help="which of them this one is, from 0"
    )


def sweep_options(
    args: argparse.Namespace,
) -> tuple[TrainConfig, dict[str, tuple[float, ...]]]:
    """What all members of a sweep share, and the values of each field they differ in."""
    axes = {
        field: _numbers(flag, getattr(args, flag[2:].replace("-", "_")), field == "seed")
        for field, flag in SWEPT.items()
    }
    known = {f.name for f in dataclasses.fields(TrainConfig)} - SWEPT.keys() - set(_NOT_SWEPT)
    base = TrainConfig(**{name: value for name, value in vars(args).items() if name in known})
    return base, {field: values for field, values in axes.items() if values}


def _numbers(flag: str, text: str | None, whole: bool) -> tuple[float, ...]:
    """The values of a swept option."""
    try:
        return tuple(int(x) if whole else float(x) for x in (text or "").split(",") if text)
    except ValueError as error:
        raise InputError(f"{flag} is {text!r}; give numbers with commas between them") from error


# What changes the cost of a step: options of train that plan shares.
PLANNED = (
    "model", "task", "method", "density", "final_lambda", "structure", "scope", "published_cut",
    "batch_size", "max_length", "dtype", "accumulate", "mesh", "remat", "scan_layers",
    "train_embeddings",
)  # fmt: skip


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Options of plan."""
    parser.add_argument(
        "--topology",
        metavar="CHIP:AxB",
        help="TPU slice to compile for: v4:2x2x4, v5e:4x4, v5p:2x2x4, v6e:4x4, ... (required)",
    )
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="folder or config.json (no weights are read), or a well-known name such as "
        "bert-base-uncased (required)",
    )
    for name in PLANNED[1:]:
        add_field(parser, fields[name])
    parser.add_argument(
        "--full-effort",
        action="store_true",
        help="compile as train does, which takes minutes; the quick compilation fuses less and "
        "mostly says more memory and traffic than a run will have",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")


def add_packing(pack: argparse.ArgumentParser, unpack: argparse.ArgumentParser) -> None:
    """Options of pack and unpack."""
    pack.add_argument("model", metavar="DIR_OR_RUN")
    pack.add_argument("--output", metavar="FILE.mpz", help="new file (required)")
    pack.add_argument(
        "--int8",
        action="store_true",
        help="linear layers in int8, one scale per output channel (default: bit for bit)",
    )
    pack.add_argument(
        "--embeddings",
        default="float32",
        choices=("float32", "float16", "int8"),
        help="float32: bit for bit; int8: one scale per row (default: %(default)s)",
    )
    pack.add_argument("--json", action="store_true", help="print the sizes as JSON, not a table")
    unpack.add_argument("file", metavar="FILE.mpz")
    unpack.add_argument("--output", help="new folder for the model (required)")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Options of evaluate."""
    parser.add_argument(
        "--model", help="run folder, model folder, packed model or hub name (required)"
    )
    parser.add_argument("--task", help="what to score it on (default: the run's own task)")
    parser.add_argument("--data", help="folder or file of the task's data (default: the run's)")
    parser.add_argument("--batch-size", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument(
        "--max-length", type=int, help="tokens per row (default: the run's, else 128)"
    )
    parser.add_argument("--limit", type=int, help="score the first N rows of the dev file only")
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--predictions", metavar="FILE", help="also write the predictions, for mpjax score"
    )
    add_threshold(parser)
    add_field(parser, next(f for f in dataclasses.fields(TrainConfig) if f.name == "cache"))


def add_score(parser: argparse.ArgumentParser) -> None:
    """Options of score."""
    parser.add_argument("--task", help="what they are predictions for (required)")
    parser.add_argument("--data", help="folder or file of the dev set (default: from the hub)")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        help="questions: official predictions.json, id to text; sentences: a GLUE submission, "
        "index and prediction, .tsv or .jsonl, index = row of the dev set from 0 (required)",
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """The option of every command that can read a training checkpoint."""
    parser.add_argument(
        "--threshold",
        type=float,
        help="of the masks of a training checkpoint with scores whose folder does not say it",
    )


def add_shrink(parser: argparse.ArgumentParser) -> None:
    """Options of shrink."""
    parser.add_argument("model", metavar="RUN_OR_MODEL")
    parser.add_argument("--output", help="new folder for the model (required)")
    parser.add_argument("--json", action="store_true", help="print JSON, not tables")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time the dense, the masked and the shrunk model on this device",
    )
    for flag, default, text in (
        ("--batch-size", 16, "rows of a timed batch"),
        ("--max-length", 128, "tokens of a timed row"),
    ):
        parser.add_argument(flag, type=int, default=default, help=text + " (default: %(default)s)")
    add_threshold(parser)
