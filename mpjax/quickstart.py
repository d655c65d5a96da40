"""`mpjax quickstart`: the whole of fine-pruning on a small built-in language, with no data at all.

Everything here is an ordinary model folder or an ordinary run; only the data are made up.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.report.table import percent, render
from mpjax.training.config import TrainConfig

MARK = "quickstart.json"

NOTICE = """\
The data are synthetic: sentences of a toy language that mpjax makes up from a seed. The numbers
show that everything works and how methods differ on this toy; they say nothing about English."""

NEXT = """\
With real data (GLUE and SQuAD from the hub, or files in --data):
  mpjax train --model google-bert/bert-base-uncased --task sst2 --method movement --density 0.10 \\
      --output runs/sst2-movement-10
Look into a run of this quickstart:
  mpjax inspect {run}"""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Sizes of the quickstart. The defaults take about 3 minutes on 2 cores, compilation included."""

    hidden: int = 64
    layers: int = 2
    pretrain_steps: int = 2500
    dense_steps: int = 400
    prune_steps: int = 400
    limit_train: int | None = None
    limit_eval: int | None = None
    # (density asked for, final λ with which soft movement lands near it)
    densities: tuple[tuple[float, float], ...] = ((0.10, 100.0), (0.03, 300.0))


# Tasks and the tokens of their longest row; the first is the one that is pruned.
TASKS = {"demo_questions": 48, "demo_sentiment": 18, "demo_inference": 20}


def quickstart(
    output: str | Path = "quickstart",
    *,
    cache: str | None = None,
    show: Callable[[str], Any] = print,
    scale: Scale = Scale(),
) -> list[dict[str, Any]]:
    """Pretrains a tiny BERT, fine-tunes it, fine-prunes it, and shows the table.

    Args:
      output: folder of the model and the runs; what is finished there is not done again.
      cache: see `TrainConfig`. show: gets every text for the user. scale: sizes.

    Returns:
      One dict per row of the table: ``run``, ``task``, ``method``, ``asked`` (density or None),
      and ``density``, ``score`` (in percent), ``metric``, ``seconds`` as reached.

    Raises:
      InputError: `output` holds something that no quickstart of this scale has made.
    """
    folder = Path(output).expanduser().absolute()
    _claim(folder, scale)
    from mpjax.training.loop import train

    show(f"{NOTICE}\n")
    runs = plan_runs(folder, scale, cache)
    _start_model(folder, scale)
    rows = []
    for number, (name, asked, config) in enumerate(runs, 1):
        show(f"[{number}/{len(runs)}] {name}")
        result = train(config)
        ((metric, score),) = list(result["score"].items())[:1]
        rows.append(
            {
                "run": config.output,
                "task": config.task,
                "method": config.method,
                "asked": asked,
                "density": result["linear_density"],
                "score": score,
                "metric": metric,
                "seconds": result["seconds"],
            }
        )
    show(f"\n{table(rows)}\n\n{NOTICE}\n\n{NEXT.format(run=rows[-1]['run'])}")
    return rows


def plan_runs(
    folder: Path, scale: Scale, cache: str | None = None
) -> list[tuple[str, float | None, TrainConfig]]:
    """Name, density asked for and config of every run, in order."""
    common = TrainConfig(
        model=str(folder / "pretrain" / "model"),
        method="dense",
        learning_rate=2e-3,
        limit_train=scale.limit_train,
        limit_eval=scale.limit_eval,
        cache=cache,
    )
    tuning = dataclasses.replace(common, single_length=True, steps=scale.dense_steps)
    pruning = dataclasses.replace(
        tuning, task=next(iter(TASKS)), max_length=next(iter(TASKS.values())),
        steps=scale.prune_steps,
    )  # fmt: skip
    runs: list[tuple[str, float | None, TrainConfig]] = [
        (
            "pretrain",
            None,
            dataclasses.replace(
                common, model=str(folder / "start"), task="demo_mlm", max_length=48,
                train_embeddings=True, learning_rate=3e-3, steps=scale.pretrain_steps,
            ),
        )
    ]  # fmt: skip
    for task, length in TASKS.items():
        config = dataclasses.replace(tuning, task=task, max_length=length)
        runs.append((f"{task.removeprefix('demo_')}-dense", None, config))
    for density, final_lambda in scale.densities:
        for method in ("magnitude", "movement", "soft_movement"):
            config = dataclasses.replace(pruning, method=method, density=density)
            if method == "soft_movement":  # a short run needs faster scores to reach the cut
                config = dataclasses.replace(
                    config, density=None, final_lambda=final_lambda, score_learning_rate=0.05
                )
            what = pruning.task.removeprefix("demo_")
            runs.append((f"{what}-{method}-{round(100 * density)}", density, config))
    return [
        (name, asked, dataclasses.replace(config, output=str(folder / name)))
        for name, asked, config in runs
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """The results as text."""
    return render(
        ["task", "method", "density asked", "density", "score", "", "seconds"],
        [
            [
                row["task"],
                row["method"] if row["task"] != "demo_mlm" else "pretraining",
                percent(row["asked"], 0),
                percent(row["density"]),
                f"{row['score']:.1f}",
                row["metric"],
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
        left=2,
    )


def _claim(folder: Path, scale: Scale) -> None:
    """Takes an empty folder, or one of an earlier quickstart of the same scale."""
    from mpjax.training.rundir import read_json, write_json

    # By way of JSON, in which a tuple comes back as a list.
    sizes = json.loads(json.dumps(dataclasses.asdict(scale)))
    if folder.is_file():
        raise InputError(f"--output {folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).is_file() or read_json(folder / MARK) != sizes:
            raise InputError(
                f"--output {folder} is not empty and not of this quickstart; give another folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, sizes)


def _start_model(folder: Path, scale: Scale) -> None:
    """An untrained BERT of the toy language, as a model folder."""
    if (folder / "start").is_dir():
        return
    import tempfile

    from mpjax import models
    from mpjax.tasks import demo

    config = models.BertConfig(
        vocab_size=len(demo.tokenizer()),
        hidden_size=scale.hidden,
        num_hidden_layers=scale.layers,
        num_attention_heads=4,
        intermediate_size=4 * scale.hidden,
        max_position_embeddings=64,
        # So small a model has nothing to spare for dropout, and learns late from small weights.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    params = models.new_model(config, "mlm").params
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = demo.write_tokenizer(Path(temporary))
        models.save_model(folder / "start", config, params, "mlm", tokenizer)
