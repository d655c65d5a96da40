"""Catalogue of pruning rules, one per file; importing the folder registers them all."""

import dataclasses
import importlib
import pkgutil
from typing import Any

from mpjax import plugins
from mpjax.pruning.rules.base import RULES, Rule, top_v

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["RULES", "Rule", "make_rule", "top_v"]


def make_rule(name: str, /, **options: Any) -> Rule:
    """Rule called ``name``, its fields set from ``options``.

    Raises:
      ValueError: unknown rule, unknown option, or a value out of range.

    >>> make_rule("movement", final=0.03, scope="global")
    Movement(scope='global', initial=1.0, final=0.03, regularization='none', published_cut=False)
    """
    if name not in RULES and not plugins.search("rule", name):
        raise ValueError(f"pruning rule is {name!r}; it must be one of {', '.join(sorted(RULES))}")
    rule = RULES[name]
    known = [field.name for field in dataclasses.fields(rule)]  # class variables are no options
    unknown = options.keys() - set(known)
    if unknown:
        raise ValueError(
            f"{name} has no option {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    return rule(**options)
