"""The table of readers: sound files, damage, reader, and share of the inputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from experiments.reliability import originals, readers
from experiments.reliability.containers import spoil_npz, spoil_packed, spoil_safetensors
from experiments.reliability.mutations import either, flip_bit, spoil_bytes, spoil_json, spoil_lines
from experiments.reliability.sources.table import BROUGHT
from experiments.reliability.target import Target
from experiments.reliability.words import spoil_words

_JSON = either(spoil_bytes, spoil_json, spoil_json)
_LINES = either(spoil_bytes, spoil_lines)


def _run_records(folder: Path, root: Path) -> None:
    originals.finished_run(folder, root)
    shutil.rmtree(folder / "run" / "checkpoints")


def _without_newest(folder: Path) -> None:
    """Removes the newest checkpoint of a run."""
    steps = [path for path in (folder / "run" / "checkpoints").iterdir() if path.name.isdigit()]
    shutil.rmtree(max(steps, key=lambda path: int(path.name)))


def _commands(folder: Path, root: Path) -> None:
    """One sound command of each kind."""
    made = originals.base(root)
    model, data = str(made / "model"), str(made / "data")
    guesses = [f"{index}\t{index % 2}" for index in range(12)]
    (folder / "b.tsv").write_text("\n".join(["index\tprediction", *guesses]) + "\n")
    originals.packed(folder, root)
    train = originals.train_words(root, Path("run"))
    sweep = [word for word in train[1:] if word != "--single-length"]
    commands: dict[str, list[str]] = {
        "train": train,
        "sweep": ["sweep", *sweep, "--seeds", "0,1"],
        "evaluate": ["evaluate", "--model", model, "--task", "sst2", "--max-length", "16"],
        "score": ["score", "--task", "sst2", "--data", data, "--predictions", "b.tsv"],
        "inspect": ["inspect", model, "--json"],
        "export": ["export", model, "--output", "out"],
        "pack": ["pack", model, "--int8", "--output", "out.mpz"],
        "unpack": ["unpack", "model.mpz", "--output", "unpacked"],
        "shrink": ["shrink", model, "--output", "out", "--max-length", "16"],
        "plan": ["plan", "--topology", "v5e:4x4", "--model", model, "--task", "sst2"],
        "quickstart": ["quickstart", "--output", "q", "--seed", "1"],
        "recipes": ["recipes", "--json"],
    }
    (folder / "command.json").write_text(json.dumps(list(commands.values())))


_PREDICTIONS = {
    "predictions.jsonl": _LINES,
    "predictions.tsv": _LINES,
    "predictions.json": _JSON,
}
_RECORDS = {
    "run/config.json": _JSON,
    "run/result.json": _JSON,
    "run/provenance.json": _JSON,
    "run/*.jsonl": _LINES,
}

TARGETS: dict[str, Target] = {
    "glue": Target(
        originals.glue_files, {"*.tsv": _LINES, "*.jsonl": _LINES}, readers.glue, share=9
    ),
    "squad": Target(originals.squad_file, {"*.json": _JSON}, readers.squad, share=5),
    "predictions": Target(originals.predictions, _PREDICTIONS, readers.predictions, share=5),
    "config": Target(originals.model, {"config.json": _JSON}, readers.model, share=3),
    "safetensors": Target(
        originals.model,
        {"model.safetensors": either(spoil_bytes, spoil_safetensors)},
        readers.model,
        share=3,
    ),
    "packed": Target(originals.packed, {"*.mpz": spoil_bytes}, readers.packed, 3, guarded=True),
    "packed-crafted": Target(originals.packed, {"*.mpz": spoil_packed}, readers.packed, share=3),
    "run-records": Target(_run_records, _RECORDS, readers.records, share=3),
    "checkpoints": Target(
        originals.stopped_run,
        {"run/checkpoints/**/*": spoil_bytes},
        readers.checkpoint,
        share=0.5,
        guarded=True,
        older=_without_newest,
    ),
    "caches": Target(
        readers.caches,
        {"sst2-*": spoil_bytes, "teacher-*": spoil_bytes},
        readers.caches,
        share=0.5,
        guarded=True,
    ),
    "golden": Target(
        originals.recorded_case,
        {"case.json": _JSON, "case.npz": either(spoil_bytes, spoil_npz)},
        readers.golden,
        share=3,
    ),
    "golden-replayed": Target(
        originals.recorded_case,
        {"case.json": spoil_json, "case.npz": spoil_npz},
        readers.golden_replayed,
        share=0.1,
        seconds=60,
    ),
    "commands": Target(_commands, {"command.json": spoil_words}, readers.command_line, share=5),
    **BROUGHT,
}
# Of `flips`: runs that are continued, which takes a second each.
FLIPS: dict[str, Target] = {
    "continued": Target(
        originals.stopped_run,
        {"run/checkpoints/**/*": flip_bit},
        readers.continued,
        share=1,
        guarded=True,
        seconds=120,
    ),
}
