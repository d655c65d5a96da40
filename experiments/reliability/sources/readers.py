"""The readers of what users bring, as functions of a folder."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from experiments.reliability import originals
from experiments.reliability.readers import quiet, tokenizer
from mpjax import cli, tasks
from mpjax.files import read_object, write_json
from mpjax.tasks.base import DataOptions

_SPLIT = DataOptions(dev_share=0.25)


def own(task: str) -> Any:
    """Reader of all files of a folder for a task."""

    def read(folder: Path, root: Path) -> Any:
        return [_rows(task, path, root) for path in sorted(folder.iterdir())]

    return read


def parquet(folder: Path, root: Path) -> Any:
    """Rows and tokens of the files, which are called by their task."""
    return [_rows(path.stem, path, root) for path in sorted(folder.iterdir())]


def predictions(folder: Path, root: Path) -> Any:
    """Scores of every file of predictions for own data."""
    del root
    from mpjax.tasks.scoring import score_file

    data = {"classification": "commas.csv", "regression": "commas.csv", "tokens": "lines.jsonl",
            "qa": "nested.json"}  # fmt: skip
    with quiet():
        return [
            score_file(path.stem, str(folder / path.stem / data[path.stem]), path)
            for path in sorted(folder.iterdir())
            if path.is_file()
        ]


def options(folder: Path, root: Path) -> Any:
    """Configs of `train`, with the options of a YAML, a JSON and a run's file."""
    from mpjax.cli.arguments import train_config

    made = originals.base(root)
    common = ["--task", "sst2", "--data", str(made / "data"), "--output", str(folder / "run")]
    return [
        repr(train_config(cli.parse(["train", "--config", str(path), *common])))
        for path in sorted(folder.iterdir())
    ]


def report(folder: Path, root: Path) -> Any:
    """Page of a run."""
    del root
    from mpjax.pages.write import write_report

    with quiet():
        return write_report([folder / "run"], folder / "page.html").read_bytes()[:15]


def card(folder: Path, root: Path) -> Any:
    """Card of a run whose base model has a card, made anew and addressed to a repository."""
    del root
    from mpjax.cards import CARD, addressed, gather, is_ours, make_card
    from mpjax.models.hf.tensors import read_tensors

    run, model = folder / "run", folder / "run" / "model"
    ours = is_ours((run / CARD).read_bytes())
    with contextlib.chdir(folder):  # the run names its base model from here
        made = make_card(gather(run, model, read_tensors(model)[1]))
    return ours, is_ours(addressed(made, "a/b"))


def with_card(folder: Path, root: Path) -> None:
    """A finished run beside a dense one; both started from ``base``, which has a card."""
    from mpjax.cards import CARD

    originals.finished_run(folder, root)
    run = folder / "run"
    shutil.rmtree(run / "checkpoints")
    text = (
        "---\nlicense: apache-2.0\nlicense_name: x\nlicense_link: LICENSE\nlanguage:\n- en\n- fr\n"
        "tags:\n- bert\nbase_model: me/other\n---\n\n# A model\n"
    )
    (folder / "base").mkdir()
    for path in (folder / "base", run):
        (path / CARD).write_text(text)
    lines = [{"time": f"2026-01-0{i}", "warning": f"something {i}"} for i in range(1, 4)]
    (run / "warnings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "dense").mkdir()
    shutil.copy(run / "result.json", folder / "dense")
    options = read_object(run / "config.json") | {"model": "./base"}
    write_json(run / "config.json", options)
    write_json(folder / "dense" / "config.json", {**options, "method": "dense"})


def option_files(folder: Path, root: Path) -> None:
    """Options in YAML and in JSON, and the record of a run."""
    originals.finished_run(folder, root)
    (folder / "run" / "config.json").rename(folder / "recorded.json")
    shutil.rmtree(folder / "run")
    (folder / "options.json").write_text(
        '{"model": "m", "method": "movement", "density": 0.1, "steps": 6, "single_length": true, '
        '"structure": "attention=block:4x4", "score_learning_rate": 1e-2, "teacher": null}'
    )
    (folder / "options.yaml").write_text(
        "model: m\nmethod: movement\ndensity: 0.1\nsteps: 6\nsingle-length: true\n"
        "structure: attention=block:4x4\nscore-learning-rate: 1e-2\nteacher: ~\n"
    )


def _rows(task: str, path: Path, root: Path) -> Any:
    with quiet():
        fitted = tasks.get(task).fit(str(path), _SPLIT)
        rows = {split: fitted.read(str(path), split) for split in ("train", "dev")}
        encoded = fitted.encode(rows["train"], tokenizer(root), 3 * originals.WIDTH)
    return fitted.fitted, rows, encoded.arrays, encoded.lengths
