"""Tasks: read data, encode it, batch it, score predictions.

A task is one file in ``mpjax/tasks/catalog``, named as the task, that defines ``TASK``. Listing the
names reads a directory and imports no task.

>>> "sst2" in names()
True
>>> get("sst2").labels
('negative', 'positive')
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError
from mpjax.tasks import catalog

if TYPE_CHECKING:
    from mpjax.tasks.base import Encoded as Encoded
    from mpjax.tasks.base import Task as Task

__all__ = ["Encoded", "Task", "get", "names"]


def names() -> tuple[str, ...]:
    """Names of all tasks, sorted. Imports no task."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(catalog.__path__)))


def get(name: str) -> Task:
    """Task of a name.

    Raises:
      InputError: unknown name; the message lists the known ones.
    """
    if name not in names():
        raise InputError(f"unknown task {name!r}; the tasks are {', '.join(names())}")
    return importlib.import_module(f"{catalog.__name__}.{name}").TASK


def __getattr__(name: str) -> Any:
    if name in ("Task", "Encoded"):
        return getattr(importlib.import_module("mpjax.tasks.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
