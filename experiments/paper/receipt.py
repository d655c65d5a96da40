"""Receipts: facts of a finished run, small enough for the repository."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.runs.folder import RunDir

MARK = "receipt"  # key that tells a receipt from other JSON files; its value is the form's number
FORM = 1
# A path inside a longer text: from a slash (or ~/, or a drive) at a word's begin to the word's end.
# The two slashes of a network address begin none.
_PATH = re.compile(r"(?<![\w./~\\-])(?:file://(?=/)|~?/(?!/)|[A-Za-z]:\\)[^\s'\",;:)\]]+")


def write(folder: Path, output: Path) -> Path:
    """Writes the receipt of the finished run in `folder` to `output`, and returns `output`.

    Raises:
      InputError: no finished run there, or `output` holds something that is no receipt.
    """
    if not is_run(folder):
        raise InputError(f"{folder} is no run folder of mpjax train; give one")
    receipt = make(RunDir(folder))
    if output.suffix != ".json" or output.is_dir():
        raise InputError(f"--output {output}: a receipt is a .json file; name one")
    if output.exists() and MARK not in read_object(output):
        raise InputError(f"--output {output} exists and is no receipt; choose another name")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, receipt)
    return output


def make(run: RunDir) -> dict[str, Any]:
    """Content of `config.json`, `result.json` and `provenance.json` of a run, without its paths."""
    result = run.read_result()
    if result is None:
        raise InputError(
            f"the run in {run.path} is not finished; give its command again to finish it"
        )
    config = read_object(run.config)
    return {
        MARK: FORM,
        **without_paths(
            {"result": result, "config": config, "provenance": read_object(run.provenance)}
        ),
    }


def without_paths(value: Any) -> Any:
    """JSON values with every path of this machine replaced by its base name.

    >>> without_paths(["/opt/venv/bin/mpjax", "--data=/data/my files/dev.json", "org/bert", "a/b"])
    ['mpjax', '--data=dev.json', 'org/bert', 'a/b']
    """
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    flag, equals, rest = text.partition("=") if text.startswith("-") else ("", "", text)
    if _is_path(rest):
        return f"{flag}{equals}{_base(rest)}"
    return _PATH.sub(lambda match: _base(match.group()), text)


def _is_path(text: str) -> bool:
    """Whether a whole text is a path that is valid on one machine only."""
    return (
        PurePosixPath(text).is_absolute()
        or PureWindowsPath(text).is_absolute()
        or text.startswith(("~", "../", "..\\"))
    )


def _base(path: str) -> str:
    parts = [part for part in re.split(r"[\\/]", path) if part not in ("", ".", "..")]
    if parts[-1:] == ["__main__.py"]:  # python -m package
        parts = parts[:-1]
    return parts[-1] if parts else ""
