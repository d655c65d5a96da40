"""Tables of the parts, and their JSON file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.reliability.target import OUTCOMES
from mpjax.files import write_json
from mpjax.report.table import render


def of_inputs(found: Mapping[str, Any]) -> str:
    """Outcomes by target, and the ways to fail."""
    kinds = [kind for kind in OUTCOMES if found["outcomes"][kind]]
    total = {"all": {**found["outcomes"]}}
    rows = [
        [name, *(str(counts.get(kind, 0)) for kind in kinds),
         str(counts.get("slowest_seconds", "")), str(counts.get("most_memory_mb", ""))]
        for name, counts in (dict(found["targets"]) | total).items()
    ]  # fmt: skip
    table = render(["target", *kinds, "slowest s", "most MB"], rows, left=1)
    ways = [
        f"{way['count']:>6}  {way['target']}  {way['kind']}: {ascii(way['way'])[1:-1]}"
        for way in sorted(found["failures"], key=lambda way: -way["count"])
    ]
    seconds = f"{found['inputs']} inputs in {found['seconds']:.0f} s, seed {found['seed']}"
    return "\n".join([table, "", *ways, seconds])


def printed(found: dict[str, Any]) -> dict[str, Any]:
    """Prints the numbers of a part as JSON, and returns them."""
    print(json.dumps(found, indent=1))
    return found


def finish(parts: Mapping[str, Mapping[str, Any]], output: Path | None) -> int:
    """Writes the parts with what they were measured on; returns 1 if any found a failure."""
    failed = any(part.get("failures") for part in parts.values())
    if output is not None:
        from experiments.paper.receipt import without_paths
        from mpjax.runs.provenance import provenance

        about = provenance()
        del about["from_step"]
        about["command"] = sys.argv
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, without_paths({"provenance": about, **parts}))
    return int(failed)
