"""Choice among the published runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from mpjax.errors import InputError
from mpjax.pages.reading.published import PublishedRun, runs

TASKS = ("mnli", "qqp", "squad")
METHODS = ("dense", "l0", "magnitude", "movement", "soft_movement")
SCOPES = ("local", "global")


def get(identity: str) -> PublishedRun:
    """Run of an id.

    Raises:
      InputError: unknown id; the message proposes the nearest ones.
    """
    known = {run.id: run for run in runs()}
    if identity not in known:
        near = difflib.get_close_matches(identity, known, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "they are listed by: python -m experiments.paper list"
        )
        raise InputError(f"there is no published run {identity}; {hint}")
    return known[identity]


def select(
    task: str | None = None,
    method: str | None = None,
    scope: str | None = None,
    distilled: bool | None = None,
) -> Iterator[PublishedRun]:
    """Runs with these values; None admits all."""
    wanted = {"task": task, "method": method, "scope": scope, "distilled": distilled}
    for run in runs():
        if all(value in (None, getattr(run, name)) for name, value in wanted.items()):
            yield run
