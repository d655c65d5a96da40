"""The logger of the package; the command line shows its notes on stderr."""

import logging

log = logging.getLogger("mpjax")
_said: set[str] = set()


def warn_once(about: str, message: str) -> None:
    """Warns, unless this process has warned about the same before."""
    if about not in _said:
        _said.add(about)
        log.warning("%s", message)


def without_cache(error: Exception) -> None:
    """Says once that the cache cannot be written; runs go on without it."""
    warn_once("cache", f"going on without the cache: {error}")
