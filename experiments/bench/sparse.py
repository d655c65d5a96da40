"""A model with random zeros in CSR beside every dense form of it, forward, on the same CPU.

Every round runs all forms once, so that a ratio compares neighbours in time. The ratio of a form is
the median over rounds of the faster dense form's time over its own: ours in JAX, or PyTorch's of
`transformers` with its fused attention. Random masks are even: learned ones keep 1% of one matrix
and 20% of another, which ``uneven`` imitates.
"""

from __future__ import annotations

import functools
import re
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import torch
import transformers

from experiments.bench.shrink import hybrid_masks
from mpjax import models
from mpjax.export.latency import times
from mpjax.export.shrink import shrink
from mpjax.pruning import flatten, linear_density, unflatten
from mpjax.report import render
from mpjax.sparse import sparse_model
from mpjax.training.predict import make_predict

HEAD = "classification"
DENSE = ("dense, jax", "dense, torch")
OTHERS = ("dense, torch", "int8, torch", "bfloat16, torch")  # of the same weights
HYBRID, WITHIN = 0.25, 0.2  # density of a hybrid structure, and within what it keeps
Batch = Mapping[str, np.ndarray]
Predict = Callable[[Batch], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """One model, its inputs, the densities of its random masks, and the rounds to time."""

    config: models.EncoderConfig
    batches: Sequence[int]
    length: int
    densities: Sequence[float]
    rounds: int


def run(setting: Setting) -> dict[str, Any]:
    """Times every form at every batch size; prints the tables and returns their numbers."""
    forms, facts = _forms(setting)
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} threads; {setting.rounds} alternating rounds")
    result: dict[str, Any] = {"torch": torch.__version__, "torch_threads": threads, "forms": facts}
    for size in setting.batches:
        batch, named = _batch(setting.config, size, setting.length), f"{size} x {setting.length}"
        calls = {name: functools.partial(predict, batch) for name, predict in forms.items()}
        samples = times(calls, setting.rounds)
        numbers = {name: _numbers(name, samples) for name in forms}
        wanted = forms["dense, jax"](batch)
        for name in OTHERS:
            numbers[name]["largest_difference"] = float(abs(forms[name](batch) - wanted).max())
        result[named] = numbers
        print(f"\n{named}\n{_table(numbers)}", flush=True)
    print("\n" + "\n".join(f"{name}: {fact}" for name, fact in facts.items()))
    return result


def _forms(setting: Setting) -> tuple[dict[str, Predict], dict[str, str]]:
    """Function of every form, and what its matrices became."""
    dense = models.new_model(setting.config, HEAD)
    forms = {"dense, jax": _in_jax(dense)}
    forms |= _in_torch(dense)
    facts: dict[str, str] = {}

    def add(name: str, model: models.Model) -> None:
        made = sparse_model(model)
        forms[name], facts[name] = made, made.summary

    for density in setting.densities:
        add(f"CSR, {density:.0%}", _zeros(dense, density))
    middle = setting.densities[len(setting.densities) // 2]
    add(f"CSR, {middle:.0%}, uneven", _zeros(dense, middle, uneven=True))
    hybrid = replace(dense, params=hybrid_masks(dense.params, setting.config, HYBRID))
    masked = _zeros(hybrid, WITHIN)
    small = shrink(masked.params, setting.config)
    module = models.encoder(small.config, HEAD)
    shrunk = replace(masked, config=small.config, params=small.params, module=module)
    share = linear_density(masked.params, models.PRUNABLE)
    kind = f"hybrid {HYBRID:.0%} x {WITHIN:.0%}"
    add(f"CSR, {kind}", masked)
    forms[f"shrunk, {kind}"] = _in_jax(shrunk)
    facts[f"shrunk, {kind}"] = f"{share:.1%} dense before"
    add(f"shrunk and CSR, {kind}", shrunk)
    return forms, facts


def _in_jax(model: models.Model) -> Predict:
    predict, params = make_predict(model.module), jax.device_put(model.params)
    return lambda batch: np.asarray(predict(params, batch))


def _in_torch(model: models.Model) -> dict[str, Predict]:
    """The dense model in `transformers`: float32, int8 by dynamic quantisation, bfloat16."""
    config = transformers.BertConfig(**model.config.to_dict())

    def plain() -> torch.nn.Module:
        kind = transformers.BertForSequenceClassification
        made = kind._from_config(config, attn_implementation="sdpa")
        stored = models.to_torch_names(model.params, model.config, HEAD)
        tensors = {name: torch.tensor(np.asarray(leaf)) for name, leaf in stored.items()}
        made.load_state_dict(tensors, strict=False)
        return made.eval()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its move to another package, which is not needed here
        int8 = torch.ao.quantization.quantize_dynamic(plain(), {torch.nn.Linear}, torch.qint8)
    kinds = {"dense, torch": plain(), "int8, torch": int8, "bfloat16, torch": plain().bfloat16()}

    def caller(module: torch.nn.Module) -> Predict:
        def predict(batch: Batch) -> np.ndarray:
            with torch.inference_mode():
                inputs = {name: torch.tensor(value) for name, value in batch.items()}
                return module(**inputs).logits.float().numpy()

        return predict

    return {name: caller(module) for name, module in kinds.items()}


def _zeros(model: models.Model, density: float, uneven: bool = False) -> models.Model:
    """The model with a share of the encoder weights, the same or another for every matrix."""
    rng, flat = np.random.default_rng(0), dict(flatten(model.params))
    paths = [path for path in flat if re.fullmatch(models.PRUNABLE, path)]
    shares = np.exp(rng.standard_normal(len(paths))) if uneven else np.ones(len(paths))
    shares = np.minimum(density * shares / shares.mean(), 1.0)
    for path, share in zip(paths, shares, strict=True):
        leaf = np.asarray(flat[path])
        flat[path] = np.where(rng.random(leaf.shape, np.float32) < share, leaf, 0)
    return replace(model, params=unflatten(flat))


def _batch(config: models.EncoderConfig, size: int, length: int) -> Batch:
    ids = np.random.default_rng(0).integers(1, config.vocab_size, (size, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _numbers(name: str, samples: Mapping[str, list[float]]) -> dict[str, Any]:
    """Seconds of a form in every round, their median, and its ratio to the faster dense form."""
    medians = {form: statistics.median(samples[form]) for form in (*DENSE, name)}
    fastest = samples[min(DENSE, key=medians.__getitem__)]
    ratios = [dense / own for dense, own in zip(fastest, samples[name], strict=True)]
    return {
        "seconds": samples[name],
        "median": medians[name],
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def _table(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, n in numbers.items():
        spread, difference = f"{n['least']:.2f}-{n['most']:.2f}", n.get("largest_difference")
        told = "" if difference is None else f"{difference:.1e}"
        rows.append([name, f"{1e3 * n['median']:.1f}", f"{n['ratio']:.2f}", spread, told])
    return render(["form", "ms", "times as fast", "spread", "logits differ"], rows)
