"""One writer for the folder of a run, over processes that train together and those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mpjax.errors import InputError
from mpjax.locks import one_writer
from mpjax.parallel.consensus import from_first


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a folder, made if missing, while the block runs; process 0 does so for all.

    Raises:
      InputError: another process writes it, in every process of this run.
    """
    with ExitStack() as stack:

        def hold() -> str | None:
            try:
                stack.enter_context(one_writer(folder))
            except InputError as error:
                return str(error)
            return None

        if (refused := from_first(hold)) is not None:
            raise InputError(refused)
        yield
