"""Refusing what does not fit into memory before it is asked for."""

from mpjax.errors import InputError
from mpjax.hostmemory import available


def check_room(needed: int, what: str) -> None:
    """Raises `InputError` if ``what`` needs more bytes than are available.

    >>> check_room(1000, "a small model")
    """
    free = available()
    if free is not None and needed > free:
        raise InputError(
            f"{what} needs {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; "
            "take a smaller model or a larger machine"
        )
