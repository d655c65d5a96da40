"""`mpjax quickstart`: the whole of fine-pruning on a small built-in language, with no data at all.

Everything here is an ordinary model folder or an ordinary run; only the data are made up.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.report.table import percent, render

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
    """Sizes of the quickstart. The defaults take about 3 minutes on 2 cores, with compilation."""

    hidden: int = 64
    layers: int = 2
    most_steps: int | None = None  # cuts every run to this length
    limit_train: int | None = None
    limit_eval: int | None = None
    # (density asked for, final λ with which soft movement lands near it)
    densities: tuple[tuple[float, float], ...] = ((0.10, 250.0), (0.03, 550.0))


# How each task is trained: tokens of its longest row, steps, rows per step, learning rate.
# The first one is pruned as well, on the same terms.
TASKS: dict[str, dict[str, Any]] = {
    "demo_questions": {"max_length": 48, "steps": 600, "batch_size": 16, "learning_rate": 2e-3},
    "demo_sentiment": {"max_length": 18, "steps": 1000, "batch_size": 32, "learning_rate": 1e-3},
    "demo_inference": {"max_length": 20, "steps": 1200, "batch_size": 32, "learning_rate": 1e-3},
}
PRETRAINING = {"max_length": 48, "steps": 3000, "batch_size": 16, "learning_rate": 2e-3}


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
    from mpjax.training.train import train

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
        warmup=0.05,
        final_warmup=6,  # what is left needs a third of so short a run to settle
        limit_train=scale.limit_train,
        limit_eval=scale.limit_eval,
        devices=1,  # nothing to share out, and the same sums on every machine
        cache=cache,
    )
    pretraining = dataclasses.replace(
        common, model=str(folder / "start"), task="demo_mlm", train_embeddings=True, warmup=0.1,
        **PRETRAINING,
    )  # fmt: skip
    runs: list[tuple[str, float | None, TrainConfig]] = [("pretrain", None, pretraining)]
    for task, settings in TASKS.items():
        config = dataclasses.replace(common, task=task, single_length=True, **settings)
        runs.append((f"{_short(task)}-dense", None, config))
    dense = runs[1][2]
    for density, final_lambda in scale.densities:
        for method in ("magnitude", "movement", "soft_movement"):
            config = dataclasses.replace(dense, method=method, density=density)
            if method == "soft_movement":  # a short run needs faster scores to reach the cut
                config = dataclasses.replace(
                    config, density=None, final_lambda=final_lambda, score_learning_rate=0.03
                )
            name = f"{_short(dense.task)}-{method}-{round(100 * density)}"
            runs.append((name, density, config))
    return [
        (
            name,
            asked,
            dataclasses.replace(
                config,
                output=str(folder / name),
                steps=min(config.steps or 1, scale.most_steps or 10**9),
            ),
        )
        for name, asked, config in runs
    ]


def _short(task: str) -> str:
    return task.removeprefix("demo_")


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
    from mpjax.files import read_object, write_json

    # By way of JSON, in which a tuple comes back as a list.
    sizes = json.loads(json.dumps(dataclasses.asdict(scale)))
    if folder.is_file():
        raise InputError(f"--output {folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).is_file() or read_object(folder / MARK) != sizes:
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
