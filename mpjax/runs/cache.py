"""Cache folder of compiled programs, tokenised data and teacher logits."""

from __future__ import annotations

import os
from pathlib import Path

from mpjax.disk import writing
from mpjax.errors import InputError
from mpjax.log import without_cache
from mpjax.temporary import beside

NONE = "none"


def cache_folder(choice: str | None = None) -> Path | None:
    """Cache folder: `choice`, else $MPJAX_CACHE, else ~/.cache/mpjax; None for "none".

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
    """Sets jax's persistent compilation cache to `folder`/xla for the rest of this process.

    A process-wide setting, made by the command line and not by the library. Without effect for a
    folder that cannot be written.
    """
    import jax

    if folder is None or not _writable(folder / "xla"):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    # jax's default of 1 s would skip most programs of a small model.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made; a disk that refuses is said once."""
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with beside(folder / "try"):
                return True
    except InputError as error:
        without_cache(error)
        return False
