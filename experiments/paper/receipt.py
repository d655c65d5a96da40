"""Receipts: facts of a finished run, small enough for the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpjax.cards.paths import without_paths
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.runs.folder import RunDir

MARK = "receipt"  # key that tells a receipt from other JSON files; its value is the form's number
FORM = 1


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
