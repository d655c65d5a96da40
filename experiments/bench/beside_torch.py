"""Our train step beside the PyTorch trainer's, on the same device.

Both are in the middle of the pruning ramp, with dropout, weights and scores in float32. The PyTorch
step is that of `experiments.torch_compare.trainer`: the masks as the published code makes them,
weights masked by parametrization, and AdamW, attention and autocast of the library.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from experiments.bench.programs import build, model_flops
from experiments.bench.timing import seconds
from experiments.torch_compare.numerics import Numerics
from experiments.torch_compare.trainer import Pretrained, TorchTrainer
from mpjax import models
from mpjax.config.length import RunLength
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig


@dataclass(frozen=True)
class Setting:
    """One workload for both sides.

    Attributes:
      dtype: of products.
      peak: FLOP/s of the device in that type, for the share of it that `model_flops` takes.
    """

    config: models.BertConfig
    batch_size: int
    length: int
    dtype: str = "float32"
    peak: float | None = None

    @property
    def flops(self) -> float:
        """FLOPs of a dense step; see `model_flops`."""
        return model_flops(self.config, self.batch_size, self.length)

    @property
    def device(self) -> str:
        """Device of PyTorch, as it names it."""
        return "cuda" if jax.default_backend() == "gpu" else "cpu"


def run(setting: Setting, rules: list[str], rounds: int) -> dict[str, Any]:
    """Steps of the two in turn for every rule; prints the table and returns its numbers."""
    kind, threads = jax.devices()[0].device_kind, torch.get_num_threads()
    where = kind if setting.device == "cuda" else f"{threads} threads"
    print(
        f"{setting.batch_size} x {setting.length}, {setting.dtype}, {rounds} rounds, "
        f"torch {torch.__version__} on {where}; "
        f"ratio = median over rounds of torch / ours; {setting.flops / 1e12:.2f} TFLOP a step"
    )
    peak = setting.peak
    shares = "" if peak is None else f"   of {peak / 1e12:.0f} TFLOP/s: ours, torch"
    print(f"{'':<20}{'ours':>10}{'torch':>10}{'ratio':>9}   least and most{shares}")
    result: dict[str, Any] = {
        "torch": torch.__version__, "torch_threads": threads, "device": kind,
        "flops": setting.flops,
    }  # fmt: skip
    for name in rules:
        times = _times(name, setting, rounds)
        ratios = [b / a for a, b in zip(times["ours"], times["torch"], strict=True)]
        result[name] = {**times, "ratio": statistics.median(ratios)}
        print(_line(name, setting, times, ratios), flush=True)
    return result


def _times(name: str, setting: Setting, rounds: int) -> dict[str, list[float]]:
    """Seconds of every timed step of a rule, by side."""
    step, state, batch = build(
        name, setting.config, setting.batch_size, setting.length, setting.dtype
    )
    tensors = models.to_torch_names(state.params, setting.config, "classification")
    theirs = _torch_step(name, setting, tensors, batch)
    states = [state]
    del state  # its buffers are donated in the first step

    def ours() -> None:
        states[0], metrics = step(states[0], batch)
        jax.block_until_ready((states[0], metrics))

    times: dict[str, list[float]] = {"ours": [], "torch": []}
    for number in range(3 + rounds):
        for side, once in (("ours", ours), ("torch", theirs)):
            taken = seconds(once)
            if number >= 3:  # compiled, and in the ramp
                times[side].append(taken)
    return times


def _torch_step(
    name: str, setting: Setting, tensors: Mapping[str, Any], batch: Mapping[str, Any]
) -> Callable[[], Any]:
    """One step of a rule (or ``dense``, or ``RULE:global``) in PyTorch, past its warm-up."""
    method, _, scope = name.partition(":")
    options: dict[str, Any] = {"method": method, "scope": scope or "local"}
    if method in ("magnitude", "movement"):
        options["density"] = 0.1
    elif method != "dense":
        options["final_lambda"] = 100.0
    config = resolve(TrainConfig(model="random", task="sst2", output="unused", **options))
    compute = None if setting.dtype == "float32" else setting.dtype
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(setting.config.to_dict()))
        pretrained = Pretrained(Path(folder), tensors, "classification", 2)
        numerics = Numerics(compute=compute, device=setting.device)
        trainer = TorchTrainer(config, RunLength(1000, 1), pretrained, numerics)
    rng = np.random.default_rng(0)
    for _, masked in trainer.masked.values():
        if masked.scores is not None:  # distinct, as after the first steps of a real run
            with torch.no_grad():
                draws = rng.uniform(-0.01, 0.01, masked.scores.shape)
                masked.scores.add_(torch.tensor(draws, device=setting.device))
    host = {key: np.array(value) for key, value in batch.items()}
    return lambda: trainer.step(host)


def _line(
    name: str, setting: Setting, times: Mapping[str, list[float]], ratios: list[float]
) -> str:
    """One line of the table."""
    medians = {side: statistics.median(samples) for side, samples in times.items()}
    note = ""
    if setting.peak is not None:
        used = {side: setting.flops / taken / setting.peak for side, taken in medians.items()}
        note = f"{used['ours']:>16.1%}{used['torch']:>8.1%}"
    return (
        f"{name:<20}{1e3 * medians['ours']:>7.1f} ms{1e3 * medians['torch']:>7.1f} ms"
        f"{statistics.median(ratios):>9.2f}   {min(ratios):.2f}-{max(ratios):.2f}{note}"
    )
