"""`mpjax quickstart`: fine-pruning end to end on synthetic data.

Pretrains a tiny BERT on the built-in toy language, fine-tunes it on questions, and fine-prunes it
on them. Models are ordinary model folders and runs are ordinary runs.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpjax.config.checks import DENSE
from mpjax.config.recipes import RECOMMENDED, recipe_config
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.locks import LOCK, one_writer
from mpjax.log import log
from mpjax.outputs import new_folder
from mpjax.report.table import percent, render
from mpjax.temporary import remove_leftovers

MARK = "quickstart.json"  # file that marks the folder of a quickstart

NOTICE = """\
The data are synthetic: sentences of a toy language, generated from a seed. The numbers show that
everything works and how the methods differ on this toy; they say nothing about English."""

NEXT = """\
With real data (GLUE and SQuAD from the hub, or files in --data):
  mpjax train --model google-bert/bert-base-uncased --task sst2 \\
      --density 0.10 --output runs/sst2-10
Densities of a run of this quickstart, by layer:
  mpjax inspect {run}"""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the quickstart. The defaults take two to seven minutes on two cores."""

    hidden: int = 64
    layers: int = 2
    most_steps: int | None = None  # longest run
    limit_train: int | None = None
    limit_eval: int | None = None
    densities: tuple[float, ...] = (0.10, 0.05)


PRUNED_BY = ("magnitude", "soft_movement", RECOMMENDED)

TASK = "demo_questions"
# Of all runs; max_length is the length of the longest row.
SETTINGS: dict[str, Any] = {"max_length": 48, "single_length": True, "batch_size": 16}
STEPS, PRETRAINING_STEPS = 600, 3000
# 6 x 5%: the kept weights need a third of so short a run to settle.
RATES: dict[str, Any] = {"learning_rate": 2e-3, "warmup": 0.05, "final_warmup": 6}
# The recipe has a ramp and a warm-up of its own. Its rate peaks when most weights are cut, and may
# be twice as high.
RECIPE_RATES: dict[str, Any] = {"learning_rate": 4e-3}


def quickstart(
    output: str | Path = "quickstart",
    *,
    cache: str | None = None,
    seed: int = 0,
    show: Callable[[str], Any] = print,
    scale: Scale = Scale(),
) -> list[dict[str, Any]]:
    """Pretrains a tiny BERT, fine-tunes it, fine-prunes it, and shows the table of results.

    Args:
      output: folder of the model and the runs; finished runs in it are not repeated.
      cache, seed: as in `TrainConfig`.
      show: receives the table of results; what happens meanwhile is logged.
      scale: sizes of model and runs.

    Returns:
      One dict per row of the table: ``run``, ``task``, ``method`` or recipe, ``target`` (or None),
      ``density``, ``score`` (in percent), ``metric``, ``seconds``.

    Raises:
      InputError: `output` holds anything but a quickstart of this scale, cannot be written, or is
        being written by another process.
    """
    folder = Path(output).expanduser().absolute()
    remove_leftovers(folder / MARK)  # of one that was killed at its start
    known = _known(folder, scale)
    with one_writer(folder):
        if not known:
            write_json(folder / MARK, _sizes(scale))
        return _run_all(folder, cache, seed, show, scale)


def _run_all(
    folder: Path, cache: str | None, seed: int, show: Callable[[str], Any], scale: Scale
) -> list[dict[str, Any]]:
    """Trains every model that is not there yet; rows as of `quickstart`."""
    from mpjax.pages.write import write_after
    from mpjax.training.train import train  # after the checks: it imports jax

    log.info("%s", NOTICE.replace("\n", " "))
    runs = plan_runs(folder, scale, cache, seed)
    _start_model(folder, scale)
    rows: list[dict[str, Any]] = []
    for number, (name, label, config) in enumerate(runs, 1):
        log.info("[%d/%d] %s", number, len(runs), name)
        result = train(config)
        ((metric, score),) = list(result["score"].items())[:1]
        rows.append(
            {
                "run": config.output,
                "task": config.task,
                "method": label,
                "target": config.density,
                "density": result["linear_density"],
                "score": score,
                "metric": metric,
                "seconds": result["seconds"],
            }
        )
    show(f"{format_results(rows)}\n\n{NOTICE}")
    for line in NEXT.format(run=rows[-1]["run"]).splitlines():
        log.info("%s", line)
    compared = [row["run"] for row in rows if row["task"] == rows[-1]["task"]]
    if (page := write_after(compared, folder / "report.html")) is not None:
        log.info("the runs side by side, for a browser: %s", page)
    return rows


def plan_runs(
    folder: Path, scale: Scale, cache: str | None = None, seed: int = 0
) -> list[tuple[str, str, TrainConfig]]:
    """Name, method or recipe, and config of the runs, in order."""
    common: dict[str, Any] = {
        "model": str(folder / "pretrain" / "model"),
        "limit_train": scale.limit_train,
        "limit_eval": scale.limit_eval,
        "devices": 1,  # too small to shard, and equal sums on every machine
        "cache": cache,
        "seed": seed,
        **SETTINGS,
    }
    runs: list[tuple[str, str, TrainConfig]] = []

    def add(name: str, label: str, recipe: str | None, **options: Any) -> None:
        most = PRETRAINING_STEPS if name == "pretrain" else STEPS
        steps = min(most, scale.most_steps or most)
        given = {**common, **options, "steps": steps, "output": str(folder / name)}
        runs.append((name, label, recipe_config(recipe, **given)))

    start = {"model": str(folder / "start"), "train_embeddings": True, "learning_rate": 2e-3}
    add("pretrain", DENSE, None, task="demo_mlm", method=DENSE, **start)
    add("questions-dense", DENSE, None, task=TASK, method=DENSE, **RATES)
    for density in scale.densities:
        for label in PRUNED_BY:
            same = {"task": TASK, "density": density}
            name = f"questions-{label}-{round(100 * density)}"
            if label == RECOMMENDED:
                add(name, label, RECOMMENDED, **same, **RECIPE_RATES)
                continue
            # Few steps need faster scores to reach the threshold.
            faster = {"score_learning_rate": 0.03} if label == "soft_movement" else {}
            add(name, label, None, method=label, **same, **RATES, **faster)
    return runs


def format_results(rows: list[dict[str, Any]]) -> str:
    """Table of the results as text."""
    return render(
        ["task", "method or recipe", "target density", "density", "score", "", "seconds"],
        [
            [
                row["task"],
                row["method"] if row["task"] != "demo_mlm" else "pretraining",
                percent(row["target"], 0),
                percent(row["density"]),
                f"{row['score']:.1f}",
                row["metric"],
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
        left=2,
    )


def _known(folder: Path, scale: Scale) -> bool:
    """Whether a folder is of an earlier quickstart of equal scale; False for a free one."""
    if folder.is_dir() and not {path.name for path in folder.iterdir()} - {LOCK}:
        return False
    new_folder(folder, marks=(MARK,), overwrite=True)
    if not folder.exists():
        return False
    if read_object(folder / MARK) != _sizes(scale):
        raise InputError(
            f"--output {folder} is not empty and not of this quickstart; give another folder"
        )
    return True


def _sizes(scale: Scale) -> dict[str, Any]:
    """Scale as JSON gives it back, which turns tuples into lists."""
    return json.loads(json.dumps(dataclasses.asdict(scale)))


def _start_model(folder: Path, scale: Scale) -> None:
    """Writes an untrained BERT of the toy language as a model folder."""
    if (folder / "start").is_dir():
        return
    from mpjax import models
    from mpjax.tasks import demo

    config = models.BertConfig(
        vocab_size=len(demo.tokenizer()),
        hidden_size=scale.hidden,
        num_hidden_layers=scale.layers,
        num_attention_heads=4,
        intermediate_size=4 * scale.hidden,
        max_position_embeddings=64,
        # So small a model loses too much to dropout, and learns late from the usual 0.02.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    params = models.new_model(config, "mlm").params
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = demo.write_tokenizer(Path(temporary))
        models.save_model(folder / "start", config, params, "mlm", tokenizer)
