"""Trains the same run here and in PyTorch, step by step, and prints how far apart they are.

    python -m experiments.torch_compare --model DIR --task sst2 --data DIR --method movement \\
        --density 0.1 --steps 100 [--float64] [--dropout] [--until 20] [--score]
        [--torch-device cuda] [--json FILE]

Takes the options of ``mpjax train``; nothing is written but the JSON. Batches, their order and the
initial head are the same on both sides. Dropout is off unless asked for: the two draw different
random numbers. Both sides start from the same schedule of ``--steps`` and stop after ``--until``.
``--score`` scores both on the dev set at the end, folded into plain parameters and by one code.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mpjax.training.optimizer import optimizer, training_loss

from mpjax import models
from mpjax.cli import parse
from mpjax.cli.arguments import run_config
from mpjax.config.recorded import as_dict
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.optim.transforms import pruning_state
from mpjax.pruning import flatten, prune_params, select
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Job
from mpjax.training.prepare import prepare
from mpjax.training.state import TrainState, create_state
from mpjax.training.step import fold, make_measure, make_predict, make_train_step


@dataclasses.dataclass
class Ours:
    """The run in JAX, a step at a time."""

    job: Job
    dtype: Any
    dropout: bool

    def __post_init__(self) -> None:
        job = self.job
        config = job.model.config
        if not self.dropout:
            config = dataclasses.replace(
                config,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                classifier_dropout=None,
            )
        module = models.encoder(config, job.model.head, self.dtype, self.dtype)
        params = jax.tree.map(lambda a: jnp.asarray(a, self.dtype), job.model.params)
        tx = optimizer(job)
        self.state: TrainState = create_state(
            params, job.rule, tx, where=models.PRUNABLE, structure=job.structure,
            seed=job.config.seed,
            score_init=job.config.mask_init, score_scale=job.config.mask_scale,
        )  # fmt: skip
        self._step = make_train_step(
            module, job.rule, tx, training_loss(job),
            where=models.PRUNABLE, structure=job.structure,
        )  # fmt: skip
        self._measure = make_measure(job.rule, where=models.PRUNABLE, structure=job.structure)
        self._masks = jax.jit(self._make_masks)
        self._predict = make_predict(module)

    def _noise(self, state: TrainState) -> Any:
        if self.job.rule is None:
            return None
        key = jax.random.split(jax.random.fold_in(state.rng, state.step))[1]
        return self.job.rule.sample_noise(key, state.scores)

    def _make_masks(self, state: TrainState) -> dict[str, jax.Array]:
        assert self.job.rule is not None
        now = pruning_state(state.opt_state)
        assert now is not None
        noise, where, structure = self._noise(state), models.PRUNABLE, self.job.structure
        masks = prune_params(
            self.job.rule, state.params, state.scores, now.threshold, where, noise, structure
        )[1]
        return self._by_kernel(masks)

    def _by_kernel(self, tree: Mapping[str, Any]) -> dict[str, jax.Array]:
        """Arrays like the scores at the paths and in the shapes of the kernels."""
        kernels = select(self.state.params, models.PRUNABLE)
        return flatten(self.job.structure.expand(tree, kernels))

    def named(self, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays at kernel paths by their Hugging Face module, (out, in)."""
        names = models.torch_names(self.job.model.config, self.job.model.head)
        return {names[p].removesuffix(".weight"): np.asarray(a).T for p, a in tree.items()}

    def step(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """One step; its task loss, threshold and density."""
        measures = self._measure(self.state)
        self.state, metrics = self._step(self.state, dict(batch))
        found = metrics | measures
        return {k: float(found[k]) for k in ("task_loss", "threshold", "density") if k in found}

    def masks(self) -> dict[str, np.ndarray]:
        """Those of the next step."""
        return {} if self.job.rule is None else self.named(self._masks(self.state))

    def noise(self) -> dict[str, np.ndarray] | None:
        """The gate noise of the next step, where the rule has any."""
        drawn = self._noise(self.state)
        return None if drawn is None else self.named(self._by_kernel(drawn))

    def scores(self) -> dict[str, np.ndarray]:
        """The scores now, each as often as it is for a weight."""
        return self.named(self._by_kernel(self.state.scores))

    def folded(self) -> dict[str, Any]:
        """The plain parameters so far."""
        return fold(self.state, self.job.rule, where=models.PRUNABLE, structure=self.job.structure)

    def dev_score(self, params: Mapping[str, Any]) -> dict[str, float]:
        """The task's scores of plain parameters, and the share of the prunable ones not zero."""
        kernels = flatten(select(params, models.PRUNABLE)).values()
        kept = sum(int(np.count_nonzero(kernel)) for kernel in kernels)
        found = score_dev(self._predict, params, self.job.dev, self.job.config.eval_batch_size)
        return found | {"linear_density": kept / sum(kernel.size for kernel in kernels)}


def theirs(job: Job, *, double: bool, dropout: bool, device: str = "cpu") -> Any:
    """The same run in PyTorch, from the same initial values."""
    import torch

    from experiments.torch_trainer import TorchTrainer

    model = job.model
    assert model.folder is not None
    tensors = models.to_torch_names(model.params, model.config, model.head)
    return TorchTrainer(
        job.config,
        job.plan,
        model.folder,
        {name: np.asarray(array) for name, array in tensors.items()},
        head=model.head,
        num_labels=model.config.num_labels,
        dtype=torch.float64 if double else torch.float32,
        dropout=dropout,
        device=device,
    )


def compare(
    job: Job,
    until: int,
    *,
    double: bool,
    dropout: bool,
    score: bool = False,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """One record a step: losses, thresholds, densities, differing mask entries, seconds.

    After them one of the scores of the weights, and if asked one of those on the dev set.
    """
    import torch

    ours = Ours(job, jnp.float64 if double else jnp.float32, dropout)
    other = theirs(job, double=double, dropout=dropout, device=device)
    for index in range(until):
        batch = job.batches.batch(index)
        masks, noise = ours.masks(), ours.noise()
        start = time.perf_counter()
        here = ours.step(batch)
        middle = time.perf_counter()
        draws = None if noise is None else {n: torch.tensor(u) for n, u in noise.items()}
        there = other.step(batch, draws)
        end = time.perf_counter()
        differing = sum(int(np.sum(masks[n] != m)) for n, m in other.masks().items())
        if job.config.method == "l0":  # gates are real numbers: only count those that close
            differing = sum(
                int(np.sum((masks[n] > 0) != (m > 0))) for n, m in other.masks().items()
            )
        yield {
            "step": index + 1,
            "jax_loss": here["task_loss"],
            "torch_loss": there["loss"],
            "threshold": here.get("threshold", 1.0),
            "threshold_difference": abs(here.get("threshold", 1.0) - there["threshold"]),
            "jax_density": here.get("density", 1.0),
            "torch_density": other.density(),
            "masks_differing": differing,
            "jax_seconds": middle - start,
            "torch_seconds": end - middle,
        }
    if job.rule is not None and job.rule.has_scores:
        yield {"scores": score_differences(ours.scores(), other.scores())}
    if score:
        yield {"dev": {"jax": ours.dev_score(ours.folded()), "torch": ours.dev_score(
            models.from_torch_names(other.folded(), job.model.config, job.model.head)
        )}}  # fmt: skip


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


def main(argv: list[str] | None = None) -> int:
    """Prints a line every few steps and a summary; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.torch_compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--float64", action="store_true", help="both sides in double precision")
    parser.add_argument("--dropout", action="store_true", help="train with dropout")
    parser.add_argument("--until", type=int, help="stop after this many steps of the run")
    parser.add_argument("--score", action="store_true", help="score both on the dev set at the end")
    parser.add_argument("--torch-device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", help="write settings, every step and versions to this file")
    args, rest = parser.parse_known_args(argv)
    try:
        config = resolve(run_config(parse(["train", "--output", "unused", *rest])))
        with jax.enable_x64(args.float64):
            return _run(prepare(config), args)
    except InputError as error:
        print(f"experiments.torch_compare: error: {error}", file=sys.stderr)
        return 2


def _run(job: Job, args: argparse.Namespace) -> int:
    until = min(args.until or job.plan.total_steps, job.plan.total_steps)
    records, every = [], max(1, until // 20)
    print(f"{'step':>6} {'loss, jax':>12} {'torch':>12} {'density':>9} {'masks differ':>13}")
    for record in compare(
        job, until,
        double=args.float64, dropout=args.dropout, score=args.score, device=args.torch_device,
    ):  # fmt: skip
        records.append(record)
        if "step" in record and (record["step"] % every == 0 or record["step"] == until):
            print(
                f"{record['step']:>6} {record['jax_loss']:>12.8f} {record['torch_loss']:>12.8f} "
                f"{record['jax_density']:>9.4f} {record['masks_differing']:>13}",
                flush=True,
            )
    summary = summarize(records)
    print(json.dumps(summary, indent=1))
    if args.json:
        names = ("jax", "optax", "torch", "transformers")
        about = {
            "config": as_dict(job.config),
            "float64": args.float64,
            "dropout": args.dropout,
            "versions": {name: version(name) for name in names},
            "machine": platform.machine(),
            "devices": {"jax": jax.devices()[0].device_kind, "torch": args.torch_device},
        }
        with open(args.json, "w") as file:
            json.dump({**about, "summary": summary, "records": records}, file, indent=1)
    return 0


def summarize(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest differences over the steps, and the median time of a step after the fifth."""
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


if __name__ == "__main__":
    sys.exit(main())
