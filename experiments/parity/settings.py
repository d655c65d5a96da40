"""Settings and log of a recorded run: types and ranges of every value that a replay reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.parity.rules import RULE_NAMES
from mpjax.errors import InputError

HEADS = {"cls": "classification", "qa": "qa"}
CHOICES: dict[str, tuple[Any, ...]] = {
    "head": tuple(HEADS),
    "method": tuple(RULE_NAMES),
    "regularization": (None, "none", "l1", "l0"),
}


class Span(NamedTuple):
    """Range of a number, ends included."""

    low: float
    high: float
    whole: bool = False


_COUNT, _INDEX = Span(1, 2**31 - 1, whole=True), Span(0, 2**30, whole=True)
_RATE, _REAL = Span(0, 1e9), Span(-1e9, 1e9)
SIZES = (
    "hidden_size", "num_layers", "num_heads", "intermediate_size", "vocab_size",
    "max_position_embeddings", "num_labels",
)  # fmt: skip
NUMBERS: dict[str, Span] = {
    **dict.fromkeys((*SIZES, "steps"), _COUNT),
    **dict.fromkeys(("warmup_steps", "first_step"), _INDEX),
    **dict.fromkeys(
        ("learning_rate", "mask_scores_learning_rate", "weight_decay", "adam_eps", "max_grad_norm",
         "initial_warmup", "final_warmup", "final_lambda", "layer_norm_eps"), _RATE
    ),
    **dict.fromkeys(("initial_threshold", "final_threshold"), _REAL),
}  # fmt: skip
RECORD = {"step": _INDEX, **dict.fromkeys(("threshold", "lam", "loss"), Span(-1e30, 1e30))}
DISTILLATION = {"temperature": Span(1e-6, 1e9), "alpha_ce": _RATE, "alpha_distil": _RATE}


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Raises `InputError` for a value that is missing, of another type or out of range."""
    for name, known in CHOICES.items():
        value = _get(path, settings, name)
        if not any(type(value) is type(one) and value == one for one in known):
            words = ", ".join(str(one) for one in known)
            raise InputError(f"{path}: {name} is {_short(value)}; it must be one of {words}")
    _check_numbers(path, "", settings, NUMBERS)
    size, heads = settings["hidden_size"], settings["num_heads"]
    if size % heads:
        raise InputError(f"{path}: hidden_size {size} is no multiple of num_heads {heads}")
    if settings.get("global_topk_frequency") is not None:
        _check_numbers(path, "", settings, {"global_topk_frequency": _COUNT})
    if (distillation := _get(path, settings, "distillation")) is not None:
        _check_numbers(path, "distillation ", _object(path, distillation), DISTILLATION)
    log = _get(path, settings, "log")
    if not isinstance(log, list) or not 0 < len(log) <= settings["steps"]:
        raise InputError(f"{path}: log must be a list of 1 to {settings['steps']} records (steps)")
    for index, record in enumerate(log):
        _check_numbers(path, f"log record {index} ", _object(path, record), RECORD)


def _check_numbers(
    path: Path, place: str, values: Mapping[str, Any], spans: Mapping[str, Span]
) -> None:
    for name, span in spans.items():
        value = _get(path, values, name, place)
        kinds = int if span.whole else int | float
        good = isinstance(value, kinds) and not isinstance(value, bool)
        if not good or not span.low <= value <= span.high:  # NaN is in no span
            kind = "a whole number" if span.whole else "a number"
            raise InputError(
                f"{path}: {place}{name} is {_short(value)}; it must be {kind} from {span.low:g} to "
                f"{span.high:g}"
            )


def _get(path: Path, values: Mapping[str, Any], name: str, place: str = "") -> Any:
    if name not in values:
        raise InputError(f"{path}: no key {name} {place and 'in ' + place}; not a recorded run")
    return values[name]


def _object(path: Path, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: an object is expected where {_short(value)} is")
    return value


def _short(value: Any) -> str:
    """A value in a message: long ones are cut, and numbers of many digits are not spelled."""
    if isinstance(value, int) and abs(value) >= 10**18:
        return f"a number of about {math.log10(abs(value)):.0f} digits"
    return ascii(value)[:40]
