"""Share of the training time that waits for the disk, and cost of the digests of a checkpoint."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.reliability import originals
from mpjax import cli, models
from mpjax.errors import InputError
from mpjax.runs import checkpoints
from mpjax.tasks import demo

_STEPS, _EVERY, _REPEATS = 120, 10, 5
_MOST_WAITING, _MOST_DIGEST = 0.05, 0.05  # the promises
_SIZES: dict[str, Any] = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
                          "intermediate_size": 1024, "max_position_embeddings": 64}  # fmt: skip


class Clock:
    """Seconds spent in the methods of a class, while the clock is entered."""

    def __init__(self, owner: type, *methods: str) -> None:
        self._owner = owner
        self._methods = {name: getattr(owner, name) for name in methods if hasattr(owner, name)}
        self._depth, self.seconds, self.calls = 0, 0.0, 0

    def __enter__(self) -> Clock:
        for name, method in self._methods.items():
            setattr(self._owner, name, self._timed(method))
        return self

    def __exit__(self, *exception: object) -> None:
        for name, method in self._methods.items():
            setattr(self._owner, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            self._depth, start = self._depth + 1, time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self._depth -= 1
                if not self._depth:  # a save that waits is counted once
                    self.seconds += time.perf_counter() - start
                    self.calls += 1

        return timed


def save_cost(root: Path) -> dict[str, Any]:
    """Trains 3 million weights with a checkpoint every ten steps, and times its parts."""
    made = originals.base(root)
    words = demo.write_tokenizer(root / "tokenizer")
    config = models.BertConfig(vocab_size=len(demo.tokenizer()), **_SIZES)
    params = models.new_model(config, "mlm").params
    if not (root / "larger").exists():
        models.save_model(root / "larger", config, params, "mlm", words)
    command = [
        "train", "--model", str(root / "larger"), "--task", "sst2", "--data", str(made / "data"),
        "--output", str(root / "timed"), "--cache", str(root / "cache"),
        *f"--method movement --density 0.3 --devices 1 --steps {_STEPS} --warmup 2 --batch-size 32 "
        f"--max-length 48 --single-length --checkpoint-every {_EVERY}".split(),
    ]  # fmt: skip
    from mpjax.training import loop, train

    spent = {}

    def timed_steps(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return loop.run_steps(*args, **options)
        finally:
            spent["training"] = time.perf_counter() - start

    before, train.run_steps = train.run_steps, timed_steps
    try:
        with Clock(checkpoints.Checkpoints, "save", "wait") as clock:
            status = cli.main(command)
    finally:
        train.run_steps = before
    if status:
        raise InputError(f"the timed run ended with status {status}; see its message above")
    share = clock.seconds / spent["training"]
    found = {
        "training_seconds": round(spent["training"], 2),
        "waiting_seconds": round(clock.seconds, 3),
        "share_waiting": round(share, 4),
        **_digest_cost(root / "timed" / "checkpoints", root / "copy"),
    }
    bad = ["share_waiting"] if share > _MOST_WAITING else []
    bad += ["digest_share"] if (found.get("digest_share") or 0) > _MOST_DIGEST else []
    return {**found, "failures": bad}


def _digest_cost(folder: Path, copy: Path) -> dict[str, Any]:
    """Median seconds of a save, and of hashing what it writes."""
    newest = max((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    fields = checkpoints.read_latest(folder)
    state = dataclasses.make_dataclass("State", fields)(**fields)
    saves = []
    for step in range(1, _REPEATS + 1):
        with checkpoints.Checkpoints(copy) as made:
            start = time.perf_counter()
            made.save(state, step)
            made.wait()
            saves.append(time.perf_counter() - start)
    save = statistics.median(saves)
    found = {"checkpoint_mb": round(size / 1e6, 1), "save_seconds": round(save, 3)}
    if importlib.util.find_spec("mpjax.runs.digests") is None:
        return {**found, "digest_share": None}
    from mpjax.runs import digests  # pyright: ignore[reportAttributeAccessIssue]

    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        digests.digests(newest)
        times.append(time.perf_counter() - start)
    digest = statistics.median(times)
    return {**found, "digest_seconds": round(digest, 4), "digest_share": round(digest / save, 4)}
