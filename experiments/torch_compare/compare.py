"""A run in JAX and in PyTorch side by side, with one record per step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.torch_compare.jax_side import JaxSide
from experiments.torch_compare.numerics import Numerics
from mpjax import models
from mpjax.config.train import TrainConfig
from mpjax.training.job import Job
from mpjax.training.prepare import prepare

if TYPE_CHECKING:
    from experiments.torch_compare.trainer import TorchTrainer


@dataclass(frozen=True)
class Pair:
    """A resolved config, and the job that the library makes of it."""

    config: TrainConfig
    job: Job

    @classmethod
    def prepare(cls, config: TrainConfig) -> Pair:
        """Reads data and model of a resolved config; errors as in `training.prepare`."""
        return cls(config, prepare(config))


def torch_side(pair: Pair, numerics: Numerics) -> TorchTrainer:
    """The run in PyTorch, from the initial values of the job."""
    from experiments.torch_compare.trainer import Pretrained, TorchTrainer

    model = pair.job.inputs.model
    assert model.folder is not None
    tensors = models.to_torch_names(model.params, model.config, model.head)
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    pretrained = Pretrained(model.folder, arrays, model.head, model.config.num_labels)
    return TorchTrainer(pair.config, pair.job.length, pretrained, numerics)


def compare(
    pair: Pair, until: int, numerics: Numerics, *, score: bool = False
) -> Iterator[dict[str, Any]]:
    """Steps of the two in turn.

    Args:
      until: number of steps.
      score: whether to score both on the dev set at the end.

    Yields:
      One record per step: losses, thresholds, densities, differing mask entries, seconds. Then
      ``{"scores": ...}`` for a rule with scores, and ``{"dev": ...}`` if asked for.
    """
    job = pair.job
    ours, theirs = JaxSide(job, numerics), torch_side(pair, numerics)
    for index in range(until):
        yield {"step": index + 1, **_step(ours, theirs, job.inputs.batches.batch(index))}
    if job.pruning is not None and job.pruning.rule.has_scores:
        yield {"scores": score_differences(ours.scores(), theirs.scores())}
    if score:
        model = job.inputs.model
        plain = models.from_torch_names(theirs.plain_tensors(), model.config, model.head)
        yield {"dev": {"jax": ours.dev_score(ours.plain_params()), "torch": ours.dev_score(plain)}}


def _step(ours: JaxSide, theirs: TorchTrainer, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """One step of both, from equal batches and gate noise."""
    import torch

    masks, noise = ours.masks(), ours.noise()
    draws = None if noise is None else {n: torch.tensor(u) for n, u in noise.items()}
    start = time.perf_counter()
    here = ours.step(batch)
    middle = time.perf_counter()
    there = theirs.step(batch, draws)
    end = time.perf_counter()
    threshold = here.get("threshold", 1.0)
    return {
        "jax_loss": here["task_loss"],
        "torch_loss": there["loss"],
        "threshold": threshold,
        "threshold_difference": abs(threshold - there["threshold"]),
        "jax_density": here.get("density", 1.0),
        "torch_density": theirs.density(),
        "masks_differing": sum(_differing(masks[n], m) for n, m in theirs.masks().items()),
        "jax_seconds": middle - start,
        "torch_seconds": end - middle,
    }


def _differing(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Entries in which two masks differ; of gates, which are real numbers, those closed in one."""
    if ours.dtype != bool:
        ours, theirs = ours > 0, theirs > 0
    return int(np.sum(ours != theirs))


def score_differences(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Largest difference of the scores, and their correlation over all matrices."""
    here = np.concatenate([ours[name].ravel() for name in theirs]).astype(np.float64)
    there = np.concatenate([array.ravel() for array in theirs.values()]).astype(np.float64)
    spread = here.std() * there.std()
    product = np.mean((here - here.mean()) * (there - there.mean()))
    return {
        "largest_difference": float(np.max(np.abs(here - there))),
        "correlation": float(product / spread) if spread else 1.0,
    }


def summarize(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Largest differences over the steps, and the median time of a step after the fifth."""
    steps = [record for record in records if "step" in record]
    gaps = [abs(r["jax_loss"] - r["torch_loss"]) for r in steps]
    relative = [gap / abs(r["torch_loss"]) for gap, r in zip(gaps, steps, strict=True)]
    summary: dict[str, Any] = {
        "steps": len(steps),
        "largest_loss_difference": max(gaps),
        "largest_relative_loss_difference": max(relative),
        "mask_entries_differing": sum(r["masks_differing"] for r in steps),
        "largest_threshold_difference": max(r["threshold_difference"] for r in steps),
    }
    late = steps[5:]
    if late:
        for side in ("jax", "torch"):
            summary[f"{side}_step_seconds"] = float(np.median([r[f"{side}_seconds"] for r in late]))
    for record in records:
        summary |= record.get("scores", {}) | ({"dev": record["dev"]} if "dev" in record else {})
    return summary
