"""The logger of the package; the command line shows its notes on stderr."""

import logging
import sys

log = logging.getLogger("mpjax")
_said: set[str] = set()


class Notes(logging.StreamHandler):
    """Writes notes above the progress bars, if there are any, instead of across them."""

    def emit(self, record: logging.LogRecord) -> None:
        drawn = sys.modules.get("tqdm")  # --help and most refusals do not load it
        if drawn is None:
            super().emit(record)
            return
        with drawn.tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def warn_once(about: str, message: str) -> None:
    """Warns, unless this process has warned about the same before."""
    if about not in _said:
        _said.add(about)
        log.warning("%s", message)


def without_cache(error: Exception) -> None:
    """Says once that the cache cannot be written; runs go on without it."""
    warn_once("cache", f"going on without the cache: {error}")
