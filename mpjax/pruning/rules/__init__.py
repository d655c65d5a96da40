"""Every module of this folder holds one rule; importing the folder registers them all."""

import dataclasses
import importlib
import pkgutil

from mpjax.pruning.rules.base import RULES, Rule, top_v

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["RULES", "Rule", "make_rule", "top_v"]


def make_rule(name: str, **options: object) -> Rule:
    """The rule called ``name``, with its fields set from ``options``.

    Raises:
      ValueError: an unknown rule, or a field that the rule does not have.

    >>> make_rule("movement", final=0.03, scope="global")
    Movement(scope='global', initial=1.0, final=0.03, regularization='none', published_cut=False)
    """
    if name not in RULES:
        raise ValueError(f"pruning rule is {name!r}; it must be one of {', '.join(sorted(RULES))}")
    rule = RULES[name]
    known = [field.name for field in dataclasses.fields(rule)]  # class variables are no options
    unknown = options.keys() - set(known)
    if unknown:
        raise ValueError(
            f"{name} has no option {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    return rule(**options)  # pyright: ignore[reportArgumentType]
