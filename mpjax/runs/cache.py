"""Where compiled programs and tokenised data are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

NONE = "none"


def cache_folder(choice: str | None = None) -> Path | None:
    """The cache folder: `choice`, else $MPJAX_CACHE, else ~/.cache/mpjax; None if it says none.

    $XDG_CACHE_HOME replaces ~/.cache. The folder is not made here.

    >>> cache_folder("none") is None
    True
    """
    chosen = choice or os.environ.get("MPJAX_CACHE")
    if chosen is None:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        chosen = os.path.join(home, "mpjax")
    return None if chosen == NONE else Path(chosen).expanduser().absolute()


def use_compiled_programs(folder: Path | None) -> None:
    """Makes jax keep compiled programs under `folder`/xla, for the rest of this process.

    A setting of the process, so the command line makes it and the library does not.
    """
    import jax

    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
        # The default of a second would leave out most programs of a small model.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
