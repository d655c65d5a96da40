"""Speed of a shrunk model beside its masked and its dense form, on this device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mpjax.export.dense import dense_config
from mpjax.report import render

if TYPE_CHECKING:
    from mpjax.models import EncoderConfig, Model

ROUNDS = 9
FORMS = ("dense", "masked", "shrunk")


def encoder_flops(config: EncoderConfig, batch_size: int, length: int) -> int:
    """Floating-point operations of the matrix products in the encoder layers, forward.

    ``2 · B·L · weights`` of the six matrices and ``4 · B·L²·D`` a head for scores and context; the
    rest (softmax, norms, head of the model) is left out, as usual.

    >>> from mpjax.models import BertConfig
    >>> encoder_flops(BertConfig(), 1, 128) / 1e9
    22.34...
    """
    tokens, total = batch_size * length, 0
    for i in range(config.num_hidden_layers):
        features = config.heads(i) * config.head_size
        weights = config.hidden_size * (4 * features + 2 * config.units(i))
        total += 2 * tokens * weights + 4 * tokens * length * features
    return total


@dataclass(frozen=True)
class Latency:
    """Median seconds of one forward pass of each form, and the operations in its layers."""

    device: str
    batch_size: int
    length: int
    seconds: Mapping[str, float]
    flops: Mapping[str, int]

    @property
    def speedup(self) -> float:
        """Dense time / shrunk time."""
        return self.seconds["dense"] / self.seconds["shrunk"]

    @property
    def flops_ratio(self) -> float:
        """Dense operations / shrunk operations: what the speed-up could be."""
        return self.flops["dense"] / max(self.flops["shrunk"], 1)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values, with the ratios."""
        return {
            "device": self.device,
            "batch_size": self.batch_size,
            "length": self.length,
            "seconds": dict(self.seconds),
            "flops": dict(self.flops),
            "speedup": self.speedup,
            "flops_ratio": self.flops_ratio,
            "reached": self.speedup / self.flops_ratio,
        }

    def table(self) -> str:
        """One line a form, then how far the speed is from the operations."""
        dense = self.seconds["dense"]
        rows = [
            [
                form,
                f"{1e3 * self.seconds[form]:.2f}",
                f"{dense / self.seconds[form]:.2f}x",
                f"{self.flops[form] / 1e9:.3g}",
            ]
            for form in self.seconds
        ]
        return (
            f"{self.batch_size} x {self.length} tokens, float32, {self.device}, medians of "
            f"{ROUNDS} alternating rounds\n\n"
            f"{render(['form', 'ms', 'speed', 'GFLOP'], rows)}\n\n"
            f"{self.speedup:.2f}x as fast as dense; the operations shrank {self.flops_ratio:.2f}x, "
            f"of which the speed reaches {100 * self.speedup / self.flops_ratio:.0f}%"
        )


def measure_latency(masked: Model, shrunk: Model, batch_size: int, length: int) -> Latency:
    """Times the dense, the masked and the shrunk form of one model in turn.

    Dense has every head and unit and no zeros (random weights: values do not matter to the time);
    masked is the model before it was shrunk.
    """
    import jax

    from mpjax import models
    from mpjax.training.predict import make_predict

    whole = models.new_model(dense_config(masked.config), masked.head)
    forms = dict(zip(FORMS, (whole, masked, shrunk), strict=True))
    rng = np.random.default_rng(0)
    low = (masked.config.pad_token_id or 0) + 1
    ids = rng.integers(low, masked.config.vocab_size, (batch_size, length), dtype=np.int32)
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def call(model: Model) -> Callable[[], Any]:
        predict, params = make_predict(model.module), jax.device_put(model.params)
        return lambda: jax.block_until_ready(predict(params, batch))

    calls = {form: call(model) for form, model in forms.items()}
    for run in calls.values():
        run()  # compiles
        run()
    times: dict[str, list[float]] = {form: [] for form in calls}
    for _ in range(ROUNDS):
        for form, run in calls.items():
            start = time.perf_counter()
            run()
            times[form].append(time.perf_counter() - start)
    return Latency(
        jax.devices()[0].device_kind,
        batch_size,
        length,
        {form: statistics.median(samples) for form, samples in times.items()},
        {form: encoder_flops(m.config, batch_size, length) for form, m in forms.items()},
    )
