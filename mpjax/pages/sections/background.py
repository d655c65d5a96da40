"""Options, versions, commands and warnings of the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from mpjax.config.recorded import DERIVED
from mpjax.files import shown
from mpjax.pages.reading.record import Run, mapping
from mpjax.pages.sections.base import NONE, Material, Section, Table


def background(material: Material) -> Section:
    """Tables of what the runs were made with."""
    runs = material.runs
    tables = [_notes(material), _differences(runs), _commands(runs), _machines(runs)]
    tables += [_options(run) for run in runs]
    return Section("background", "How the runs were made", tables=[t for t in tables if t.rows])


def _notes(material: Material) -> Table:
    """Warnings of the runs, and what of their files could not be read."""
    found = [
        (run.name, shown(note, 500))
        for run in material.runs
        for note in (*run.warnings, *run.notes, *material.pictures[run.name].notes)
    ]
    return Table("Warnings and missing parts", ("run", "what"), found, [row[0] for row in found])


def _differences(runs: Sequence[Run]) -> Table:
    """Options in which the runs differ."""
    configs = [_flat(run) for run in runs]
    names = list(dict.fromkeys(name for config in configs for name in config))
    varied = [
        name for name in names
        if name != "output" and len({config.get(name, NONE) for config in configs}) > 1
    ]  # fmt: skip
    rows = [
        (run.name, *(config.get(name, NONE) for name in varied))
        for run, config in zip(runs, configs, strict=True)
    ]
    header = ("run", *varied)
    return Table("Options that differ", header, rows if varied else (), [r.name for r in runs])


def _commands(runs: Sequence[Run]) -> Table:
    rows = [
        (run.name, str(session.get("started", NONE)), shown(session.get("from_step", NONE)),
         _command(session.get("command")))
        for run in runs
        for session in run.sessions
    ]  # fmt: skip
    header = ("run", "started", "from step", "command")
    return Table("Sessions", header, rows, [row[0] for row in rows], folded=True)


def _machines(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        last = mapping(run.sessions[-1]) if run.sessions else {}
        hardware, versions = mapping(last.get("hardware")), mapping(last.get("versions"))
        if last:
            packages = ", ".join(f"{shown(k)} {shown(v)}" for k, v in versions.items())
            device = f"{shown(hardware.get('devices', ''))} × {shown(hardware.get('device', ''))}"
            place = f"{device}; {shown(hardware.get('processor', ''))}"
            rows.append((run.name, shown(last.get("commit") or NONE), place, shown(packages, 600)))
    header = ("run", "commit", "hardware", "versions")
    return Table("Versions and hardware", header, rows, [row[0] for row in rows], folded=True)


def _options(run: Run) -> Table:
    rows = list(_flat(run).items())
    title = f"{run.name}: all options"
    return Table(title, ("option", "value"), rows, run=run.name, folded=True)


def _flat(run: Run) -> dict[str, str]:
    """Options as text, with the sizes that followed from the data."""
    values = {**{k: v for k, v in run.config.items() if k != DERIVED}, **run.derived}
    return {shown(name, 60): _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None:
        return NONE
    return shown(value if isinstance(value, str) else json.dumps(value), 300)


def _command(words: Any) -> str:
    if not isinstance(words, list) or not words:
        return NONE
    first = str(words[0])
    name = "mpjax" if first.endswith(("mpjax", "__main__.py")) else first
    return shown(shlex.join([name, *map(str, words[1:])]), 1500)
