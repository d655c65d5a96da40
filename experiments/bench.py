"""Benchmarks, each a ratio taken in one run: machines are noisy, ratios less so.

    python -m experiments.bench selection [--shape 768,3072] [--density 0.1]
    python -m experiments.bench step [--model base|small|tiny] [--batch 16] [--length 128]
                                     [--give-back-memory]
    python -m experiments.bench torch [--model base] [--rules dense,movement,soft_movement]
                                      [--dtype bfloat16] [--peak-tflops 989]
    python -m experiments.bench compile [--model base]
    python -m experiments.bench shrink [--model base] [--density 0.25] [--batch 16] [--length 128]
    python -m experiments.bench plan [--rules movement,soft_movement] [--full-effort]
    python -m experiments.bench pack [--model base] [--density 0.06]

``selection`` times the exact mask by counting beside ``jnp.sort`` and ``lax.top_k``. ``step`` times
the train step of every rule beside the dense one, alternating the two, and counts page faults, of
which there are many where freed memory is not kept (``--give-back-memory``). ``torch`` times the
steps beside those of the PyTorch trainer (extra ``[torch]``), on a GPU where both have one.
``compile`` times the compilation of a step in a fresh process, with an empty and then a filled
persistent cache.
``shrink`` times a model with random hybrid masks beside its dense and its shrunk form. ``pack``
counts bytes instead: a random model, packed in every way, beside the information bound. ``plan``
compiles BERT-base for a TPU slice and compares the bytes that pruned and dense steps move.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import bench_shrink
from mpjax.hostmemory import keep_freed_memory
from mpjax.models import PRUNABLE, BertConfig, encoder
from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.pruning import RULES, Rule, make_rule, top_k_masks
from mpjax.training.losses import task_loss
from mpjax.training.state import create_state
from mpjax.training.step import make_train_step

SIZES = {
    "base": BertConfig(),
    "small": BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    ),
    "tiny": BertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    ),
}


RULES_TIMED = "magnitude,movement,movement:global,soft_movement,l0"


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call, its result ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def page_faults() -> int:
    """Pages that the process had to ask the system for so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def row(name: str, median: float, ratio: float | None, note: str = "") -> str:
    """One line of a table: median milliseconds and a ratio."""
    return f"{name:<24}{1e3 * median:>12.1f} ms{'' if ratio is None else f'{ratio:>10.3f}'}  {note}"


def bench_selection(shape: tuple[int, ...], density: float, rounds: int) -> dict[str, Any]:
    """Exact top-v of one matrix: ours, a full sort, and ``lax.top_k``, in turn."""
    count = int(density * int(np.prod(shape)))
    x = jax.random.normal(jax.random.key(0), shape)

    def by_sort(x: jax.Array) -> jax.Array:
        return x >= jnp.sort(x.reshape(-1))[x.size - count]

    def by_top_k(x: jax.Array) -> jax.Array:
        return x >= jax.lax.top_k(x.reshape(-1), count)[0][-1]

    methods = {
        "counting (ours)": jax.jit(lambda x: top_k_masks([x], [count])[0]),
        "jnp.sort": jax.jit(by_sort),
        "lax.top_k": jax.jit(by_top_k),
    }
    masks = {name: np.asarray(method(x)) for name, method in methods.items()}
    for name, mask in masks.items():
        if not np.array_equal(mask, masks["counting (ours)"]):
            raise AssertionError(f"{name} chose other entries")
    times = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            times[name].append(seconds(lambda m=method: m(x)))
    medians = {name: statistics.median(t) for name, t in times.items()}
    print(f"top {count} of {shape} float32, {rounds} rounds; ratio = time / ours")
    for name, median in medians.items():
        print(row(name, median, median / medians["counting (ours)"]))
    return {"shape": shape, "count": count, "seconds": medians}


def build(
    name: str, config: BertConfig, batch_size: int, length: int, dtype: str = "float32"
) -> tuple[Any, Any, Any]:
    """Compiled step, state and batch of a rule (or ``dense``), in the middle of its ramp."""
    rule: Rule | None = None
    if name != "dense":
        name, _, scope = name.partition(":")
        options: dict[str, Any] = {"scope": scope} if scope else {}
        if RULES[name].is_density and RULES[name].has_penalty is False:
            options["final"] = 0.1
        rule = make_rule(name, **options)
    tx = make_optimizer(OptimizerConfig(warmup_steps=1, final_lambda=100.0), rule, 1000)
    module = encoder(config, "classification", jnp.dtype(dtype))
    ids = jax.random.randint(jax.random.key(1), (batch_size, length), 0, config.vocab_size)
    batch = {
        "input_ids": ids,
        "attention_mask": jnp.ones_like(ids),
        "token_type_ids": jnp.zeros_like(ids),
        "labels": jnp.zeros(batch_size, jnp.int32),
    }
    params = jax.jit(module.init)(jax.random.key(0), ids[:1])["params"]
    scale = None
    if rule is not None and rule.has_scores and not rule.has_penalty:
        scale = 0.01  # distinct scores, as after the first steps of a real run
    state = create_state(
        params, rule, tx, where=PRUNABLE, score_init="uniform" if scale else "constant",
        score_scale=scale,
    )  # fmt: skip
    step = make_train_step(module, rule, tx, task_loss("classification"), where=PRUNABLE)
    return step, state, batch


def bench_step(
    size: str, batch_size: int, length: int, rules: list[str], rounds: int
) -> dict[str, Any]:
    """Each rule's step beside the dense step, one step of each in turn."""
    config, result = SIZES[size], {}
    print(
        f"BERT-{size}, {batch_size} x {length}, float32, {jax.devices()[0].device_kind},"
        f" {rounds} rounds; ratio = median over rounds of time / dense time"
    )
    for name in rules:
        times: dict[str, list[float]] = {"dense": [], name: []}
        faults: dict[str, int] = {}
        runs = {kind: build(kind, config, batch_size, length) for kind in times}
        states = {kind: state for kind, (_, state, _) in runs.items()}

        def once(kind: str, runs: Any = runs, states: Any = states, faults: Any = faults) -> float:
            step, _, batch = runs[kind]
            before, start = page_faults(), time.perf_counter()
            states[kind], metrics = step(states[kind], batch)
            jax.block_until_ready((states[kind], metrics))
            faults[kind] = page_faults() - before
            return time.perf_counter() - start

        for kind in times:
            for _ in range(3):  # compile, and enter the ramp
                once(kind)
        for _ in range(rounds):
            for kind, samples in times.items():
                samples.append(once(kind))
        ratios = [a / b for a, b in zip(times[name], times["dense"], strict=True)]
        result[name] = {
            "dense_seconds": times["dense"],
            "seconds": times[name],
            "page_faults": faults,
            "ratio": statistics.median(ratios),
        }
        note = f"{faults['dense']:,} page faults in the last step"
        print(row("dense", statistics.median(times["dense"]), 1.0, note), flush=True)
        spread = f"min {min(ratios):.3f} max {max(ratios):.3f}, {faults[name]:,} page faults"
        print(row(name, statistics.median(times[name]), result[name]["ratio"], spread), flush=True)
        del runs, states
    return result


def bench_compile(size: str, batch_size: int, length: int, rules: list[str]) -> dict[str, Any]:
    """First call of a step in a fresh process, twice over one persistent cache."""
    code = (
        "import time, sys, jax\n"
        "jax.config.update('jax_compilation_cache_dir', sys.argv[1])\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "from experiments.bench import SIZES, build\n"
        "step, state, batch = build(sys.argv[2], SIZES[sys.argv[3]], *map(int, sys.argv[4:6]))\n"
        "jax.block_until_ready(state)\n"
        "start = time.perf_counter()\n"
        "lowered = step.lower(state, batch)\n"
        "middle = time.perf_counter()\n"
        "lowered.compile()\n"
        "print(middle - start, time.perf_counter() - middle)\n"
    )
    result = {}
    print(f"BERT-{size}, {batch_size} x {length}: seconds to trace and to compile the step")
    for name in rules:
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                argv = [sys.executable, "-c", code, cache, name, size, str(batch_size), str(length)]
                out = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
                trace, compile_time = map(float, out.split())
                print(f"{name:<24}{kind:<6}{trace:>8.2f} s trace {compile_time:>8.2f} s compile")
                result[f"{name} {kind}"] = {"trace": trace, "compile": compile_time}
    return result


def _words(text: str) -> list[str]:
    return text.split(",")


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark and prints its table."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whats = ("selection", "step", "torch", "compile", "shrink", "pack", "plan")
    parser.add_argument("what", choices=whats)
    parser.add_argument("--shape", default="768,3072", help="of the matrix (selection)")
    parser.add_argument("--density", type=float, help="(selection: 0.1; shrink: 0.25; pack: 0.06)")
    parser.add_argument("--model", choices=SIZES, default="base", help="(all but selection)")
    parser.add_argument("--batch", type=int, default=16, help="(step, torch, compile)")
    parser.add_argument("--length", type=int, default=128, help="(step, torch, compile)")
    parser.add_argument(
        "--rules", type=_words, help=f"(step, torch, compile: {RULES_TIMED}; plan: two of them)"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32",
                        help="of products (torch)")  # fmt: skip
    parser.add_argument(
        "--peak-tflops",
        type=float,
        help="of the device in that type: prints the share used (torch)",
    )
    parser.add_argument(
        "--give-back-memory", action="store_true", help="as glibc does, unlike the mpjax command"
    )
    parser.add_argument("--full-effort", action="store_true", help="compile as a run does (plan)")
    parser.add_argument("--json", help="also write the numbers to this file")
    args = parser.parse_args(argv)
    rules = args.rules or _words(RULES_TIMED)
    if not args.give_back_memory:
        keep_freed_memory()  # as a run does
    if args.what == "selection":
        shape = tuple(int(n) for n in args.shape.split(","))
        result = bench_selection(shape, args.density or 0.1, args.rounds)
    elif args.what == "pack":
        from experiments.bench_pack import bench_pack

        result = bench_pack(SIZES[args.model], args.density or 0.06)
    elif args.what == "plan":
        from experiments.bench_plan import run

        planned = args.rules or ["movement", "soft_movement"]
        result = run("bert-base-uncased", planned, args.full_effort)
    elif args.what == "step":
        result = bench_step(args.model, args.batch, args.length, rules, args.rounds)
    elif args.what == "torch":
        from experiments import bench_torch

        result = bench_torch.run(
            build, SIZES[args.model], args.batch, args.length, rules, args.rounds, seconds,
            dtype=args.dtype, peak=args.peak_tflops and 1e12 * args.peak_tflops,
        )  # fmt: skip
    elif args.what == "shrink":
        density = args.density or 0.25
        result = bench_shrink.run(SIZES[args.model], density, args.batch, args.length)
    else:
        result = bench_compile(args.model, args.batch, args.length, rules)
    if args.json:
        about = {"jax": jax.__version__, "cpus": os.cpu_count(), "argv": sys.argv[1:]}
        with open(args.json, "w") as file:
            json.dump(about | {"result": result}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
