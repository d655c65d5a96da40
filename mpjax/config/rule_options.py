"""Checks of `--rule-option`: fields of a rule that have no option of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

# Fields of rules that other options set.
_OWN_OPTION = (
    "scope", "initial", "final", "regularization", "published_cut", "density", "steered", "cut",
)  # fmt: skip


def check_rule_options(config: TrainConfig, rule: type[Rule] | None) -> dict[str, Any]:
    """Values of ``--rule-option`` by field of the rule, of the type of the field's default.

    Args:
      rule: rule of the method, None for plain fine-tuning.

    Raises:
      InputError: an unknown field, or a value of another type.
    """
    if not config.rule_option:
        return {}
    fields = {} if rule is None else {f.name: f for f in dataclasses.fields(rule)}
    known = {name: field for name, field in fields.items() if name not in _OWN_OPTION}
    if not known:
        raise InputError(f"--rule-option does not apply to {config.method}, which has none")
    found: dict[str, Any] = {}
    for part in config.rule_option.split(","):
        name, equals, text = (word.strip() for word in part.partition("="))
        if not equals or name not in known or name in found:
            twice, has = f"{name} is there twice", f"{config.method} has {', '.join(known)}"
            why = twice if name in found else has
            raise InputError(f"--rule-option {shown(part)}: give each NAME=VALUE once; {why}")
        found[name] = _value(name, text, known[name].default)
    return found


def _value(name: str, text: str, default: Any) -> Any:
    kinds: dict[type, Callable[[str], Any]] = {bool: _yes, int: int, float: float, str: str}
    kind = kinds.get(type(default))
    if kind is None:
        raise InputError(
            f"--rule-option {name} cannot be given as text: its default is {shown(repr(default))}"
        )
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(
            f"--rule-option {name} is {shown(repr(text))}; give a value like {default}"
        ) from error


def _yes(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
