"""Commands that are killed: every rule, recipe and way to train, on data of the toy language."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from experiments.reliability import originals

_COMMON = (
    "--steps 12 --warmup 1 --batch-size 8 --eval-batch-size 8 --max-length 16 --log-every 1 "
    "--learning-rate 1e-2 --checkpoint-every 3 --eval-every 4"
)
_EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
_QUICKSTART = (
    "import sys; from mpjax.quickstart import Scale, quickstart; "
    "quickstart(sys.argv[1], cache=sys.argv[2], scale=Scale(hidden=8, layers=1, most_steps=6, "
    "limit_train=64, limit_eval=16, densities=(0.3,)))"
)


@dataclass(frozen=True)
class Variant:
    """One command.

    Attributes:
      words: options of `mpjax train` besides the common ones.
      env: environment variables.
      make: the whole command from root and output, where it is no `mpjax train`.
      model: folder below the base to start from.
    """

    words: str = ""
    env: dict[str, str] = field(default_factory=dict)
    make: Callable[[Path, Path], list[str]] | None = None
    model: str = "model"

    def command(self, root: Path, output: Path) -> list[str]:
        """Words of the process."""
        if self.make is not None:
            return [sys.executable, *self.make(root, output)]
        return [sys.executable, *_mpjax("train", root, output, self.words, self.model)]


def _mpjax(name: str, root: Path, output: Path, words: str, model: str = "model") -> list[str]:
    made = originals.base(root)
    return [
        "-m", "mpjax", name, "--model", str(made / model), "--task", "sst2",
        "--data", str(made / "data"), "--output", str(output), "--cache", str(made / "cache"),
        *_COMMON.split(),
        *words.format(base=made).split(),
    ]  # fmt: skip


def _sweep(root: Path, output: Path) -> list[str]:
    words = "--method movement --density 0.5,0.3 --seeds 0,1 --members-at-once 2"
    return _mpjax("sweep", root, output, words)


def _quickstart(root: Path, output: Path) -> list[str]:
    return ["-c", _QUICKSTART, str(output), str(originals.base(root) / "cache")]


_MOVEMENT = "--method movement --density 0.3 --devices 1"
VARIANTS: dict[str, Variant] = {
    "magnitude": Variant("--method magnitude --density 0.3 --devices 1"),
    "movement": Variant(_MOVEMENT),
    "soft_movement": Variant("--method soft_movement --final-lambda 10 --devices 1"),
    "l0": Variant("--method l0 --final-lambda 10 --devices 1"),
    "steered": Variant("--method soft_movement --density 0.3 --devices 1"),
    **{
        recipe: Variant(f"--recipe {recipe} --density 0.3 --devices 1 --steps 24")
        for recipe in ("gmp", "smp", "platon", "sensitivity")
    },
    "hybrid": Variant(f"{_MOVEMENT} --structure attention=block:4x4,ffn=units"),
    "accumulation": Variant(f"{_MOVEMENT} --accumulate 2"),
    "dropout": Variant(_MOVEMENT, model="dropout"),
    "distillation": Variant(f"{_MOVEMENT} --teacher {{base}}/model"),
    "single-length": Variant(f"{_MOVEMENT} --single-length"),
    "devices": Variant("--method movement --density 0.3 --devices 8", _EIGHT),
    "mesh": Variant("--method soft_movement --density 0.3 --mesh data=2,fsdp=2,tensor=2", _EIGHT),
    "sweep": Variant(make=_sweep),
    "quickstart": Variant(make=_quickstart),
}
