"""Targets of what users bring."""

from __future__ import annotations

from experiments.reliability.mutations import either, spoil_bytes, spoil_json, spoil_lines
from experiments.reliability.sources import own_data, readers
from experiments.reliability.sources.damage import (
    spoil_card,
    spoil_cells,
    spoil_columns,
    spoil_footer,
    spoil_yaml,
)
from experiments.reliability.target import Target

_JSON = either(spoil_bytes, spoil_json, spoil_json)
_LINES = either(spoil_bytes, spoil_lines, spoil_lines)
_CELLS = either(spoil_bytes, spoil_cells, spoil_cells)
_TABLES = {"*.jsonl": _LINES, "*.json": _JSON, "*.[ct]sv": _CELLS}
_RECORDS = {
    "run/config.json": _JSON,
    "run/result.json": _JSON,
    "run/provenance.json": _JSON,
    "run/metrics.jsonl": _LINES,
    "run/masks.jsonl": _LINES,
}

BROUGHT: dict[str, Target] = {
    "own-classification": Target(
        own_data.classification, _TABLES, readers.own("classification"), share=4
    ),
    "own-regression": Target(
        own_data.regression, _TABLES, readers.own("regression"), share=4
    ),
    "own-tokens": Target(
        own_data.tokens, {**_TABLES, "*.conll": _LINES}, readers.own("tokens"), share=4
    ),
    "own-qa": Target(own_data.qa, _TABLES, readers.own("qa"), share=4),
    "own-parquet": Target(
        own_data.parquet,
        {"*.parquet": either(spoil_bytes, spoil_columns, spoil_columns, spoil_footer)},
        readers.parquet,
        share=2,
    ),
    "own-predictions": Target(own_data.predictions, _TABLES, readers.predictions, share=4),
    "options": Target(
        readers.option_files,
        {"*.yaml": either(spoil_bytes, spoil_yaml, spoil_yaml), "*.json": _JSON},
        readers.options,
        share=4,
    ),
    "report": Target(
        readers.with_card, {**_RECORDS, "run/warnings.jsonl": _LINES}, readers.report, share=0.5
    ),
    "card": Target(
        readers.with_card,
        {"*/README.md": spoil_card, "*/result.json": _JSON, "*/config.json": _JSON,
         "run/provenance.json": _JSON},
        readers.card,
        share=2,
    ),
}  # fmt: skip
