"""Tasks that read faulty records as far as they can be mended."""

from __future__ import annotations

import dataclasses

from mpjax.errors import InputError
from mpjax.tasks.base import Task


def with_repair(task: Task, repair: bool) -> Task:
    """The task with its ``repair`` switched on; `InputError` for a task that mends nothing."""
    if not repair:
        return task
    if not any(field.name == "repair" for field in dataclasses.fields(task)):
        raise InputError(f"--repair mends files of questions; {task.name} has none, leave it out")
    return dataclasses.replace(task, repair=True)
