"""Writing the report of runs to a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mpjax.errors import InputError, plain
from mpjax.files import write_atomically
from mpjax.log import log
from mpjax.outputs import new_file
from mpjax.pages.reading.places import read_runs
from mpjax.runs.folder import RunDir

SUFFIX = ".html"
_NEEDED = ("bokeh", "jinja2")


def check_installed() -> None:
    """`InputError` unless the packages of the extra `report` are there."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the report needs {' and '.join(missing)}; install with: pip install 'mpjax[report]'"
        )


def write_report(
    runs: Sequence[str | Path], output: str | Path, *, overwrite: bool = False
) -> Path:
    """Writes one HTML page about runs; returns its path.

    Args:
      runs: run folders, or folders that hold runs, as of a sweep.
      output: file to write, ``.html``.
      overwrite: replace a file that exists.

    Raises:
      InputError: a folder without runs, an output that cannot be written, or packages that are not
        installed.
    """
    target = new_file(output, overwrite=overwrite)
    if target.suffix.lower() not in (SUFFIX, ".htm"):
        raise InputError(f"--output {output} has no suffix {SUFFIX}; name the page so")
    check_installed()
    found = read_runs(runs)
    from mpjax.pages.page import render  # bokeh, which may be missing

    content = render(found).encode("utf-8", "backslashreplace")
    write_atomically(target, lambda file: file.write(content), len(content), overwrite=overwrite)
    return target


def write_after(runs: Sequence[str | Path], output: Path) -> Path | None:
    """Writes the report at the end of a command; a failure is a warning and None.

    A report that is newer than the results of the runs stays. Without the packages of the extra
    nothing is written and nothing is said.
    """
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        return None
    try:
        if not _is_newer(output, [RunDir(Path(run)).result for run in runs]):
            write_report(runs, output, overwrite=True)
    except Exception as error:  # the result of the command is there and must reach the user
        log.warning("no report was written: %s", plain(str(error) or type(error).__name__))
        return None
    return output


def _is_newer(path: Path, sources: Sequence[Path]) -> bool:
    """Whether a file is there and newer than all others."""
    if not path.is_file():
        return False
    return path.stat().st_mtime >= max(source.stat().st_mtime for source in sources)
