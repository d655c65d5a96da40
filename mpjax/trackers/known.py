"""Trackers by name, and the check of `--report-to`."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from mpjax.errors import InputError
from mpjax.files import shown

NAMES = ("tensorboard", "wandb", "trackio")  # files of this folder


def chosen(report_to: str | None) -> tuple[str, ...]:
    """Trackers of a `--report-to`, after checking that each is known, installed and set up.

    >>> chosen(None), chosen("none")
    ((), ())

    Raises:
      InputError: an unknown name, a missing package, an account that is not logged in.
    """
    names = tuple(dict.fromkeys(part.strip() for part in (report_to or "").split(",")))
    if names in (("",), ("none",)):
        return ()
    for name in names:
        if name not in NAMES:
            raise InputError(
                f"--report-to names {shown(repr(name))}; choose from {', '.join(NAMES)}, with "
                "commas between them"
            )
        module = tracker(name)
        if importlib.util.find_spec(module.PACKAGE) is None:
            raise InputError(
                f"--report-to {name} needs the package {module.PACKAGE}; install it with "
                f"pip install 'mpjax[{name}]', or leave it out"
            )
        module.check()
    return names


def tracker(name: str) -> ModuleType:
    """Module of a tracker; importing it imports no package."""
    return importlib.import_module(f"{__package__}.{name}")
