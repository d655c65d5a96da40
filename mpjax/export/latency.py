"""Latency of a shrunk model beside its masked and dense forms, and of both in CSR on a CPU."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mpjax import sparse
from mpjax.export.dense import dense_config
from mpjax.models import EncoderConfig, Model, new_model
from mpjax.report import render
from mpjax.training.predict import make_predict

if TYPE_CHECKING:
    from mpjax.sparse.forward import SparseModel

ROUNDS = 9
FORMS = ("dense", "masked", "shrunk")
# Between calls: the threads of torch look for work for some milliseconds after theirs is done.
PAUSE = 0.01
_DENSE_IN_TORCH = "dense, torch"
NOT_TIMED = "CSR was not timed, it needs torch: pip install 'mpjax[sparse]'"

Call = Callable[[], Any]


def encoder_flops(config: EncoderConfig, batch_size: int, length: int) -> int:
    """Floating-point operations of the matrix products in the encoder layers, forward pass.

    ``2 · B·L · weights`` for the six matrices, and ``4 · B·L²·D`` per head for scores and context.
    Softmax, norms and the model's head are not counted, as is usual.

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
    """Median seconds of a forward pass, and operations in the encoder layers, of each form.

    ``notes`` are sentences below the table.
    """

    device: str
    batch_size: int
    length: int
    seconds: Mapping[str, float]
    flops: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def speedup(self) -> float:
        """Dense time / shrunk time."""
        return self.seconds["dense"] / self.seconds["shrunk"]

    @property
    def flops_ratio(self) -> float:
        """Dense operations / shrunk operations: the speed-up if time were proportional."""
        return self.flops["dense"] / max(self.flops["shrunk"], 1)

    def to_json(self) -> dict[str, Any]:
        """Measurements and ratios as JSON values."""
        return {
            "device": self.device,
            "batch_size": self.batch_size,
            "length": self.length,
            "seconds": dict(self.seconds),
            "flops": dict(self.flops),
            "speedup": self.speedup,
            "flops_ratio": self.flops_ratio,
            "reached": self.speedup / self.flops_ratio,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """One row per form, then the speed-up beside the reduction in operations."""
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
            + "".join(f"\n\n{note}" for note in self.notes)
        )


def measure_latency(masked: Model, shrunk: Model, batch_size: int, length: int) -> Latency:
    """Times the dense, masked and shrunk forms of one model in alternating rounds.

    Dense has all heads and units and random weights, since the time does not depend on values;
    masked is the model before shrinking. On a CPU with torch, masked and shrunk are also timed in
    CSR, beside dense in the same runtime.
    """
    dense = new_model(dense_config(masked.config), masked.head)
    models: dict[str, Model] = dict(zip(FORMS, (dense, masked, shrunk), strict=True))
    rng = np.random.default_rng(0)
    low = (masked.config.pad_token_id or 0) + 1
    ids = rng.integers(low, masked.config.vocab_size, (batch_size, length), dtype=np.int32)
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def call(model: Model) -> Call:
        predict, params = make_predict(model.module), jax.device_put(model.params)
        return lambda: jax.block_until_ready(predict(params, batch))

    calls = {form: call(model) for form, model in models.items()}
    flops = {form: encoder_flops(m.config, batch_size, length) for form, m in models.items()}
    notes: tuple[str, ...] = ()
    if jax.default_backend() == "cpu" and sparse.is_installed():
        for form, run in _in_torch(models).items():
            calls[form] = functools.partial(run, batch)
            flops[form] = encoder_flops(run.config, batch_size, length) - 2 * ids.size * run.spared
            if form != _DENSE_IN_TORCH:
                notes += (f"{form}: {run.summary}",)
    elif jax.default_backend() == "cpu":
        notes = (NOT_TIMED,)
    return Latency(
        jax.devices()[0].device_kind, batch_size, length, medians(calls, ROUNDS), flops, notes
    )


def medians(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """Median seconds of every call over alternating rounds, after two to compile and warm up."""
    return {form: statistics.median(samples) for form, samples in times(calls, rounds).items()}


def times(calls: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in alternating rounds, after two that are not counted."""
    found: dict[str, list[float]] = {form: [] for form in calls}
    for number in range(2 + rounds):
        for form, run in calls.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            if number >= 2:
                found[form].append(time.perf_counter() - start)
    return found


def _in_torch(models: Mapping[str, Model]) -> dict[str, SparseModel]:
    """The dense model in the sparse runtime, and the other two there, in CSR where that is faster.

    Dense tells apart what CSR gains and what torch does.
    """
    runs = {_DENSE_IN_TORCH: sparse.sparse_model(models["dense"], csr=False)}
    csr = {f"{form}, CSR": sparse.sparse_model(models[form]) for form in ("masked", "shrunk")}
    return runs | csr
