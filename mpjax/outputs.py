"""Checks of the place of an output before the work whose result goes there; nothing is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path

from mpjax.disk import refused, writing
from mpjax.errors import InputError


def new_folder(
    output: str | Path,
    *,
    marks: Collection[str] = (),
    overwrite: bool = False,
    named: str = "--output",
) -> Path:
    """Absolute path of an output folder.

    Args:
      marks: files of which a folder that is overwritten must have one, so that nothing else goes.
      overwrite: accept a folder with content.
      named: the option, for messages.

    Raises:
      InputError: a file, a folder in use, a symbolic link to nothing, or a place that cannot be
        written.
    """
    target = _reached(output, named)
    if target.exists() and not target.is_dir():
        raise InputError(f"{named} {output} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()):
        if marks and not any((target / mark).is_file() for mark in marks):
            raise InputError(
                f"{named} {output} is not empty and holds no {' or '.join(marks)}, so it is not "
                "replaced; choose another folder or remove it first"
            )
        if not overwrite:
            raise InputError(
                f"{named} {output} is not empty; choose another folder, or replace it with "
                "--overwrite"
            )
    return target


def new_file(output: str | Path, *, overwrite: bool = False, named: str = "--output") -> Path:
    """Absolute path of an output file; `InputError` as `new_folder`."""
    target = _reached(output, named)
    if target.is_dir():
        raise InputError(f"{named} {output} is a folder; give a file")
    if target.exists() and not overwrite:
        raise InputError(
            f"{named} {output} exists; choose another name, or replace it with --overwrite"
        )
    return target


def check_apart(target: Path, source: Path, named: str = "--output") -> None:
    """`InputError` for an output inside the folder that is read, or around it."""
    if target == source or target.is_relative_to(source):
        raise InputError(f"{named} {target} lies in the folder that is read; choose another place")
    if source.is_relative_to(target):
        raise InputError(f"{named} {target} holds the folder that is read; choose another place")


def _reached(output: str | Path, named: str) -> Path:
    """Absolute path without links, after checking that something can be written there."""
    if not str(output):
        raise InputError(f"{named} is empty; give a path")
    path = Path(output).expanduser().absolute()
    try:
        with writing(output):
            if path.is_symlink() and not path.exists():
                raise InputError(
                    f"{named} {output} is a symbolic link to {os.readlink(path)}, which does not "
                    "exist; remove the link or make its target"
                )
            target = path.resolve()
            target.exists()  # a name that is too long
    except RuntimeError as error:  # links in a circle, as Python before 3.13 tells it
        raise InputError(refused(output, OSError(errno.ELOOP, ""), doing="written")) from error
    _check_writable(target, named, output)
    return target


def _check_writable(target: Path, named: str, output: str | Path) -> None:
    """`InputError` unless the nearest folder that exists lets this process make files in it."""
    # The root has nothing above it.
    above = next((folder for folder in target.parents if os.path.lexists(folder)), target)
    if not above.is_dir():
        raise InputError(f"{named} {output}: {above} is a file, not a folder; choose another place")
    if os.access(above, os.W_OK | os.X_OK):
        return
    readonly = os.statvfs(above).f_flag & os.ST_RDONLY
    error = OSError(errno.EROFS if readonly else errno.EACCES, "")
    raise InputError(refused(output, error, doing="written"))
