"""Run folders as `mpjax train` leaves them, planted without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tiny

from mpjax import models
from mpjax.models.hf.tensors import read_tensors
from mpjax.report import measure

SCORE = {"accuracy": 80.0}


def run(folder: Path, kept: float = 0.25, **options: Any) -> Path:
    """A finished run that keeps this share of its weights; `options` go to its config."""
    start = folder.parent / "start"
    if not start.exists():
        tiny.model(start, num_hidden_layers=2)
    model = models.load_model(start, "classification", labels=("no", "yes"))
    rng = np.random.default_rng(options.get("seed", 0))

    def prune(path: Any, leaf: Any) -> Any:
        if "layer_" in str(path) and np.ndim(leaf) == 2:
            return np.asarray(leaf) * (rng.random(leaf.shape) < kept)
        return leaf

    params = jax.tree_util.tree_map_with_path(prune, model.params)
    folder.mkdir(parents=True)
    models.save_model(folder / "model", model.config, params, model.head, model.folder)
    found = measure(read_tensors(folder / "model")[1])
    config = {"task": "sst2", "method": "movement", "model": str(start), "density": kept,
              "structure": "element", "scope": "local", "teacher": None, "seed": 0,
              "output": str(folder), "derived": {"total_steps": 30}}  # fmt: skip
    steps = range(10, 31, 10)
    metrics = [{"step": s, "loss": 1 / s, "task_loss": 1 / s, "density": 0.5, "threshold": 0.5,
                "lam": 0.0, "grad_norm": 1.0, "learning_rate": 1e-3} for s in steps]  # fmt: skip
    metrics.append({"step": 30, "eval": SCORE})
    masks = [{"step": s, "since": s - 10, "dropped": 0.1, "regrown": 0.05,
              "layers": {"0": 0.1, "1": 0.2}} for s in steps]  # fmt: skip
    write(folder / "config.json", {**config, **options})
    write(folder / "metrics.jsonl", *metrics)
    write(folder / "masks.jsonl", *masks)
    write(folder / "warnings.jsonl", {"time": "now", "warning": "a planted warning"})
    write(folder / "provenance.json", {"sessions": [{"command": ["mpjax", "train"]}]})
    result = {"task": "sst2", "method": "movement", "metric": "accuracy", "score": SCORE,
              "linear_density": found.linear, "encoder_remaining": found.encoder_remaining,
              "steps": 30, "seconds": 75.0}  # fmt: skip
    write(folder / "result.json", {**result, "task": config["task"]})
    return folder


def write(path: Path, *values: Any) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
