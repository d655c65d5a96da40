"""Our train step beside the PyTorch trainer's, on the same cores; see `experiments.bench`.

Both are in the middle of the pruning ramp, with dropout, in float32. The PyTorch step is that of
`experiments.torch_trainer`: the masks as the published code makes them, weights masked by
parametrization, a fused backward pass and AdamW of the library.
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
from mpjax.training.config import Plan, TrainConfig, resolve

Build = Callable[..., tuple[Any, Any, Any]]


def build_torch(
    name: str, config: models.EncoderConfig, tensors: Any, batch: Any
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
            settings, Plan(1000, 1), Path(folder), tensors, head="classification", num_labels=2
        )
    rng = np.random.default_rng(0)
    for _, masked in trainer.masked.values():
        if masked.scores is not None:  # distinct, as after the first steps of a real run
            with torch.no_grad():
                masked.scores.add_(torch.tensor(rng.uniform(-0.01, 0.01, masked.scores.shape)))
    host = {key: np.array(value) for key, value in batch.items()}
    return lambda: trainer.step(host)


def run(
    build: Build,
    config: models.EncoderConfig,
    batch_size: int,
    length: int,
    rules: list[str],
    rounds: int,
    clock: Callable[[Callable[[], Any]], float],
) -> dict[str, Any]:
    """Steps of the two in turn for every rule; prints the table and returns its numbers.

    Args:
      build: ``(rule, config, batch_size, length) -> step, state, batch``.
      clock: seconds of one call.
    """
    threads = torch.get_num_threads()
    print(
        f"{batch_size} x {length}, float32, {rounds} rounds, torch {torch.__version__} with "
        f"{threads} threads; ratio = median over rounds of torch / ours"
    )
    print(f"{'':<20}{'ours':>10}{'torch':>10}{'ratio':>9}   least and most")
    result: dict[str, Any] = {"torch": torch.__version__, "torch_threads": threads}
    for name in rules:
        step, state, batch = build(name, config, batch_size, length)
        tensors = models.to_torch_names(state.params, config, "classification")
        theirs = build_torch(name, config, tensors, batch)
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
        print(
            f"{name:<20}{medians['ours']:>8.2f} s{medians['torch']:>8.2f} s"
            f"{result[name]['ratio']:>9.2f}   {min(ratios):.2f}-{max(ratios):.2f}",
            flush=True,
        )
        del step, states, theirs, ours
    return result
