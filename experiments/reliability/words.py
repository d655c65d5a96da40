"""Damage to command lines, kept as a JSON list of lists of words."""

from __future__ import annotations

import functools
import json
import random

from mpjax.cli import build_parser

VALUES: tuple[str, ...] = (
    "", " ", "0", "-1", "1", "2", "0.5", "-0.0", "1e400", "-1e400", "nan", "inf", "1e-400",
    "1000000000000", "9" * 4400, "1_0", "\u0661", "0x10", "true", "none", "None", "x" * 300,
    "x" * 70_000, "\udcff", "a\nb", "--", "-", "=", ",", "0.1,,0.2", "0.1,0.1", "0.5,0.25", "0,1,2",
    "..", "/", "/dev/null", "./a/b", "~", "~nobody/x", "a" * 256 + "/b", "model.mpz", "data=0",
    "data=2,fsdp=-1", "fsdp=9" + "9" * 20, "block:0x0", "block:999999999x1", "0:4", "9999999:1",
    "4:2", "heads", "hybrid", "attention=heads,ffn=rows", "threshold", "l1", "global", "sst2",
    "squad", "stsb", "demo_mlm", "movement", "magnitude", "soft_movement", "l0", "dense",
    "v5e:0x0", "v5e:999999x9", "weights",
)  # fmt: skip


def spoil_words(rng: random.Random, data: bytes) -> bytes:
    """One of the commands, with words put in, taken out or replaced by options and values."""
    words = rng.choice(json.loads(data))
    options = _options(words[0])
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        position, choice = rng.randrange(1, len(words) + 1), rng.random()
        if choice < 0.35:
            words += [rng.choice(options), rng.choice(VALUES)]
        elif choice < 0.45:
            words.append(f"{rng.choice(options)}={rng.choice(VALUES)}")
        elif choice < 0.8 and position < len(words):
            words[position] = rng.choice(VALUES)
        elif choice < 0.9:
            words.insert(position, rng.choice(options))
        else:
            del words[position : position + rng.randrange(1, 3)]
    return json.dumps([words]).encode()


@functools.cache
def _options(command: str) -> list[str]:
    return sorted(build_parser()[1][command]._option_string_actions)
