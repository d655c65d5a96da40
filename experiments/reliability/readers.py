"""The readers of mpjax as functions of a folder: a value that two equal files must share."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.parity.case import load_case
from experiments.parity.replay import prepared, replay
from experiments.reliability import originals
from mpjax import cli, models, tasks
from mpjax.cli import COMMANDS
from mpjax.cli.main import escape_output
from mpjax.config.evaluate import EvaluateConfig
from mpjax.errors import InputError


class Said(NamedTuple):
    """A result, and the notes that the command wrote besides."""

    value: Any
    text: str


def glue(folder: Path, root: Path) -> Any:
    """Rows and tokens of the files, by task."""
    return {path.stem: _encoded(path.stem, path, root) for path in sorted(folder.glob("*.[tj]s*"))}


def squad(folder: Path, root: Path) -> Any:
    """Questions and tokens."""
    return _encoded("squad_v2", folder / "dev.json", root)


def predictions(folder: Path, root: Path) -> Any:
    """Scores of every file of predictions."""
    del root
    pairs = (
        ("sst2", "dev.tsv", "tsv"),
        ("sst2", "dev.tsv", "jsonl"),
        ("squad_v2", "dev.json", "json"),
    )
    from mpjax.tasks.scoring import score_file

    return [score_file(t, str(folder / d), folder / f"predictions.{kind}") for t, d, kind in pairs]


def model(folder: Path, root: Path) -> Any:
    """Config and parameters of a model folder, and its densities as `inspect` counts them."""
    del root
    from mpjax.export.inspect import inspect_model

    loaded = models.load_model(folder, "classification")
    return loaded.config.to_dict(), loaded.params, inspect_model(folder).to_json()


def packed(folder: Path, root: Path) -> Any:
    """Config and parameters of a packed model."""
    del root
    loaded = models.load_model(folder / "model.mpz", "classification")
    return loaded.config.to_dict(), loaded.params


def records(folder: Path, root: Path) -> Any:
    """Options, result, metrics, seconds and sessions, as the next command reads them of a run."""
    from experiments.paper import receipt
    from mpjax.runs import folder as runs
    from mpjax.runs import journal, provenance

    words = originals.train_words(root, folder / "run")
    run = runs.check(_config(words))
    score = journal.last_score(run)
    read = run.read_result(), score, journal.seconds(run), receipt.make(run)
    runs.keep_until(run.metrics, 4)
    runs.keep_until(run.timings, 4)
    provenance.record(run, 4)
    return read


def checkpoint(folder: Path, root: Path) -> Any:
    """Arrays of the newest checkpoint."""
    del root
    from mpjax.runs.checkpoints import read_latest

    return jax.tree.map(np.asarray, read_latest(folder / "run" / "checkpoints"))


def continued(folder: Path, root: Path) -> Said:
    """Metrics and model of a run, after its command has been given again."""
    text = command(originals.train_words(root, folder / "run"))
    run = folder / "run"
    files = (run / "metrics.jsonl", run / "model" / "model.safetensors")
    return Said([file.read_bytes() for file in files], text)


def caches(folder: Path, root: Path) -> Any:
    """Tokenised rows and teacher logits, read from the cache or made again."""
    from mpjax.tasks import cache
    from mpjax.training.teacher import Teacher, teacher_logits

    task, made = tasks.get("sst2"), originals.base(root)
    rows = task.read(str(made / "data"), "train")
    words = tokenizer(root)
    encoded = cache.encode(task, rows, words, originals.WIDTH, folder)
    loaded = models.load_model(made / "model", "classification", labels=task.labels)
    teacher = Teacher(loaded, encoded, cache.key(task, rows, words, originals.WIDTH))
    return _arrays(encoded), teacher_logits(teacher, 8, folder)


def golden(folder: Path, root: Path) -> Any:
    """A recorded case, ready to be replayed."""
    del root
    with jax.enable_x64(True):
        case = load_case(folder / "case.json")
        prepared(case)
    return dict(case.settings), dict(case.arrays)


def golden_replayed(folder: Path, root: Path) -> Any:
    """Differences of a replay."""
    del root
    with jax.enable_x64(True):
        return replay(load_case(folder / "case.json"))


def command_line(folder: Path, root: Path) -> Any:
    """Commands up to the point where they would train, score or compile."""
    del root
    commands = json.loads((folder / "command.json").read_text())
    with contextlib.chdir(folder), quiet():
        escape_output()  # as `main` begins
        return [_stopped_early(words) for words in commands]


def _stopped_early(words: list[str]) -> Any:
    try:
        args = cli.parse(words)
    except SystemExit as end:  # of --help
        if end.code:
            raise
        return None
    if args.command == "train":
        return _prepared(_config(words))
    if args.command == "sweep":
        from mpjax.cli.sweep import sweep_options
        from mpjax.sweep.sweep import member_configs

        return [repr(one) for one in member_configs(*sweep_options(args)).values()]
    if args.command == "evaluate":
        names = [field.name for field in dataclasses.fields(EvaluateConfig)]
        return repr(EvaluateConfig(**{name: getattr(args, name) for name in names}))
    if args.command in ("inspect", "export", "pack", "unpack", "score", "recipes"):
        COMMANDS[args.command].run(args)
    return None  # the others compile, and the options of these are words and numbers


def command(words: list[str]) -> str:
    """Runs a command in this process; its notes, or its error as `InputError`."""
    with contextlib.redirect_stderr(io.StringIO()) as notes, quiet():
        status = cli.main(words)
    text = notes.getvalue()
    if status == 2:
        raise InputError(text.strip().splitlines()[-1].removeprefix("mpjax: error: "))
    if status:
        raise RuntimeError(f"status {status}: {text[-300:]}")
    return text


def _config(words: list[str]) -> Any:
    """Resolved config of a train command."""
    from mpjax.cli.arguments import train_config
    from mpjax.config.resolve import resolve

    return resolve(train_config(cli.parse(words)))


def _prepared(config: Any) -> Any:
    from mpjax.runs import folder
    from mpjax.training.prepare import prepare

    folder.check(config)
    return prepare(config).derived


def _encoded(task: str, path: Path, root: Path) -> Any:
    chosen = tasks.get(task)
    rows = chosen.read(str(path), "dev")
    return rows, _arrays(chosen.encode(rows, tokenizer(root), originals.WIDTH * 3))


@functools.cache
def tokenizer(root: Path) -> Any:
    """Tokenizer of the toy language."""
    return models.load_tokenizer(originals.base(root) / "model")


def _arrays(encoded: Any) -> Any:
    return encoded.arrays, encoded.lengths


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps results off stdout, which carries the answers of the worker."""
    logging.getLogger("mpjax").setLevel(logging.WARNING)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
