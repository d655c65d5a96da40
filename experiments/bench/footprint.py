"""Peak memory of the commands that read a model, beside the size of its weights.

The model has random weights, of its encoder matrices a share ``density``, and the tokenizer of the
built-in language. Each command runs in a process of its own, on this model and on one of a few
kilobytes; the difference of the two peaks is what the model takes, without Python, jax and
torch. Peaks are resident memory as Linux counts it for a process (VmHWM).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax.models import PRUNABLE, BertConfig, new_model, save_model
from mpjax.report import render
from mpjax.tasks import demo

_SCORED = ["--task", "demo_sentiment", "--cache", "none", "--limit", "64"]
# A child's ru_maxrss begins with the memory of its parent, its VmHWM does not.
_ONE = """
import sys
from pathlib import Path
from mpjax.cli import main
status = main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(*(line for line in lines if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""
_OUT = "OUT"  # replaced by a path that is free
COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "MODEL"),
    "export": ("export", "MODEL", "--output", _OUT),
    "pack": ("pack", "MODEL", "--output", f"{_OUT}.mpz"),
    "pack --int8": ("pack", "MODEL", "--int8", "--output", f"{_OUT}.mpz"),
    "shrink": ("shrink", "MODEL", "--output", _OUT),
    "evaluate, 1 row": ("evaluate", "--model", "MODEL", *_SCORED, "--batch-size", "1"),
    "evaluate, 64 rows": ("evaluate", "--model", "MODEL", *_SCORED, "--batch-size", "64"),
    "evaluate --runtime sparse": (
        *("evaluate", "--model", "MODEL", *_SCORED, "--batch-size", "1"),
        *("--runtime", "sparse"),
    ),
}  # fmt: skip


def run(config: BertConfig, density: float) -> dict[str, Any]:
    """Measures every command; prints the table and returns its rows in bytes."""
    least = replace(config, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=24, vocab_size=len(demo.tokenizer()))  # fmt: skip
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        made = [_made(Path(place) / name, each, density)
                for name, each in (("model", config), ("least", least))]  # fmt: skip
        size = (made[0] / "model.safetensors").stat().st_size
        for name, words in COMMANDS.items():
            both = [peak(words, model, Path(place)) for model in made]
            result[name] = {"peak": both[0], "least": both[1], "times": (both[0] - both[1]) / size}
            print(name, result[name], file=sys.stderr, flush=True)
    rows = [
        [name, *(f"{found[key] / 1e6:.0f}" for key in ("peak", "least")), f"{found['times']:.2f}"]
        for name, found in result.items()
    ]
    print(f"weights of {size / 1e6:.0f} MB; peaks in MB of 10^6 bytes")
    print(render(["command", "peak", "of a tiny model", "difference / weights"], rows))
    return {"weights": size, "commands": result}


def peak(words: Sequence[str], model: Path, place: Path) -> int:
    """Highest resident memory in bytes of one ``mpjax`` command."""
    target = Path(tempfile.mkdtemp(dir=place)) / "out"
    given = [word.replace("MODEL", str(model)).replace(_OUT, str(target)) for word in words]
    told = subprocess.run(
        [sys.executable, "-c", _ONE, *given, "--quiet"], check=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    return 1024 * int(told.stderr.split()[-2])  # "VmHWM: 493723 kB"


def _made(folder: Path, config: BertConfig, density: float) -> Path:
    """Folder of a classifier with random weights."""
    rng = np.random.default_rng(0)
    flat: dict[str, Any] = flatten_dict(new_model(config, "classification").params, sep="/")
    for path, leaf in flat.items():
        if re.fullmatch(PRUNABLE, path):
            kept = rng.random(leaf.shape, np.float32) < density
            flat[path] = np.where(kept, np.asarray(leaf), np.float32(0))
    words = demo.write_tokenizer(folder.parent / "tokenizer")
    config = replace(config, id2label=("negative", "positive"))
    return save_model(folder, config, unflatten_dict(flat, sep="/"), "classification", words)
