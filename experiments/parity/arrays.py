"""Arrays of an ``.npz`` file, their sizes checked against the bytes that are there."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np

from mpjax.errors import InputError

_MEMBER = ".npy"
# Bytes that the arrays may take beyond three times those of the file: masks compress well.
_SPARE = 300_000_000


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; each has the checksum of its zip member, which reading verifies.

    Raises:
      InputError: a damaged file, objects in place of numbers, or arrays larger than their bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > 3 * path.stat().st_size + _SPARE:
                raise InputError(
                    f"{path} unpacks to {size} bytes, far more than a recorded run of its size "
                    "holds; record it again"
                )
            return {
                member.filename.removesuffix(_MEMBER): _read(path, archive, member)
                for member in members
            }
    except InputError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds; each means an unusable file
        raise InputError(
            f"{path} is damaged or no .npz file ({_one_line(error)}); copy or record it again"
        ) from error


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array. The header is read twice: NumPy allocates what it says before it reads."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # others are for structured types and names beyond Latin-1
            raise InputError(f"{path}: {member.filename} is of another form than NumPy writes")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size, there = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    if dtype.kind not in "fiub" or size != there or min(shape, default=0) < 0:
        raise InputError(
            f"{path}: {member.filename} claims {shape} of {dtype}, and has {there} bytes; record "
            "the case again"
        )
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:100]
