"""Our train step beside the PyTorch trainer's, on the same device; see `experiments.bench`.

Both are in the middle of the pruning ramp, with dropout, weights and scores in float32. The PyTorch
step is that of `experiments.torch_trainer`: the masks as the published code makes them, weights
masked by parametrization, and AdamW, attention and autocast of the library.
"""

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from experiments.torch_trainer import TorchTrainer
from mpjax import models
from mpjax.config.length import Plan
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig

Build = Callable[..., tuple[Any, Any, Any]]


def build_torch(
    name: str, config: models.EncoderConfig, tensors: Any, batch: Any, dtype: str, device: str
) -> Callable[[], Any]:
    """One step of a rule (or ``dense``, or ``RULE:global``) in PyTorch, past its warm-up."""
    method, _, scope = name.partition(":")
    options: dict[str, Any] = {"method": method, "scope": scope or "local"}
    if method in ("magnitude", "movement"):
        options["density"] = 0.1
    elif method != "dense":
        options["final_lambda"] = 100.0
    settings = resolve(TrainConfig(model="random", task="sst2", output="unused", **options))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config.to_dict()))
        trainer = TorchTrainer(
            settings, Plan(1000, 1), Path(folder), tensors, head="classification", num_labels=2,
            device=device, compute=None if dtype == "float32" else getattr(torch, dtype),
        )  # fmt: skip
    rng = np.random.default_rng(0)
    for _, masked in trainer.masked.values():
        if masked.scores is not None:  # distinct, as after the first steps of a real run
            with torch.no_grad():
                draws = rng.uniform(-0.01, 0.01, masked.scores.shape)
                masked.scores.add_(torch.tensor(draws, device=device))
    host = {key: np.array(value) for key, value in batch.items()}
    return lambda: trainer.step(host)


def model_flops(config: models.EncoderConfig, batch_size: int, length: int) -> float:
    """FLOPs of a dense step's products: 2 a weight and token, 4·L·H a token for attention, thrice.

    Thrice for the forward and twice as much backward. Norms, dropout, masks and the optimiser do
    not count; with them a utilisation would flatter.
    """
    width = config.hidden_size
    weights = config.num_hidden_layers * width * (4 * width + 2 * config.intermediate_size)
    attention = 4 * config.num_hidden_layers * length * width
    return 3.0 * batch_size * length * (2 * weights + attention)


def run(
    build: Build,
    config: models.EncoderConfig,
    batch_size: int,
    length: int,
    rules: list[str],
    rounds: int,
    clock: Callable[[Callable[[], Any]], float],
    *,
    dtype: str = "float32",
    peak: float | None = None,
) -> dict[str, Any]:
    """Steps of the two in turn for every rule; prints the table and returns its numbers.

    Args:
      build: ``(rule, config, batch_size, length, dtype) -> step, state, batch``.
      clock: seconds of one call. dtype: of products.
      peak: FLOP/s of the device; then the table has the share of it that `model_flops` takes.
    """
    kind, threads = jax.devices()[0].device_kind, torch.get_num_threads()
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    flops = model_flops(config, batch_size, length)
    where = kind if device == "cuda" else f"{threads} threads"
    print(
        f"{batch_size} x {length}, {dtype}, {rounds} rounds, torch {torch.__version__} on {where}; "
        f"ratio = median over rounds of torch / ours; {flops / 1e12:.2f} TFLOP a step"
    )
    shares = "" if peak is None else f"   of {peak / 1e12:.0f} TFLOP/s: ours, torch"
    print(f"{'':<20}{'ours':>10}{'torch':>10}{'ratio':>9}   least and most{shares}")
    result: dict[str, Any] = {
        "torch": torch.__version__, "torch_threads": threads, "device": kind, "flops": flops,
    }  # fmt: skip
    for name in rules:
        step, state, batch = build(name, config, batch_size, length, dtype)
        tensors = models.to_torch_names(state.params, config, "classification")
        theirs = build_torch(name, config, tensors, batch, dtype, device)
        states = [state]

        def ours(step: Any = step, states: Any = states, batch: Any = batch) -> None:
            states[0], metrics = step(states[0], batch)
            jax.block_until_ready((states[0], metrics))

        del state
        times: dict[str, list[float]] = {"ours": [], "torch": []}
        for number in range(3 + rounds):
            for side, once in (("ours", ours), ("torch", theirs)):
                taken = clock(once)
                if number >= 3:  # compiled, and in the ramp
                    times[side].append(taken)
        ratios = [b / a for a, b in zip(times["ours"], times["torch"], strict=True)]
        medians = {side: statistics.median(samples) for side, samples in times.items()}
        result[name] = {**times, "ratio": statistics.median(ratios)}
        used = {side: flops / taken / (peak or 1.0) for side, taken in medians.items()}
        note = "" if peak is None else f"{used['ours']:>16.1%}{used['torch']:>8.1%}"
        print(
            f"{name:<20}{1e3 * medians['ours']:>7.1f} ms{1e3 * medians['torch']:>7.1f} ms"
            f"{result[name]['ratio']:>9.2f}   {min(ratios):.2f}-{max(ratios):.2f}{note}",
            flush=True,
        )
        del step, states, theirs, ours
    return result
