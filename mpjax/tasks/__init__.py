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
import sys
from typing import TYPE_CHECKING, Any

from mpjax import plugins
from mpjax.errors import InputError
from mpjax.tasks import catalog

if TYPE_CHECKING:
    from mpjax.tasks.base import Encoded as Encoded
    from mpjax.tasks.base import Task as Task
    from mpjax.tasks.features import encode_texts as encode_texts

__all__ = ["Encoded", "Task", "encode_texts", "get", "names", "register_task"]

_REGISTERED: dict[str, Task] = {}  # from outside, by name


def names() -> tuple[str, ...]:
    """Names of all tasks, sorted, those of plugins last. Imports no task."""
    return (*_own_names(), *plugins.names("task"))


def register_task(task: Task) -> None:
    """Makes a task of another package available by its name; see `mpjax.plugins`.

    Raises:
      InputError: the name is one of ours, or of another module.
    """
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    plugins.claim("task", task.name, module, _own_names())
    _REGISTERED[task.name] = task


def get(name: str) -> Task:
    """Task of a name.

    Raises:
      InputError: unknown name; the message lists the known ones.
    """
    if name not in _own_names():
        if plugins.search("task", name):
            return _REGISTERED[name]
        known = ", ".join(names())
        raise InputError(f"unknown task {name!r}; the tasks are {known}{plugins.hint('task')}")
    return importlib.import_module(f"{catalog.__name__}.{name}").TASK


def _own_names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(catalog.__path__)))


def __getattr__(name: str) -> Any:
    if name in ("Task", "Encoded"):
        return getattr(importlib.import_module("mpjax.tasks.base"), name)
    if name == "encode_texts":
        return getattr(importlib.import_module("mpjax.tasks.features"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
