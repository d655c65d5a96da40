"""Tasks of GLUE (Wang et al. 2018): one or two sentences, a class or a similarity."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks import hub
from mpjax.tasks.base import Data, Encoded, PredictingTask, Row, check_split
from mpjax.tasks.features import encode_texts
from mpjax.tasks.glue import files as glue_files
from mpjax.tasks.glue import metrics, originals
from mpjax.tasks.glue.quoting import read_quoted
from mpjax.tasks.reading import find_file, read_json_lines, read_tsv

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

HUB = "nyu-mll/glue"
Names = tuple[str, ...]  # of one column: on the hub, then in official files


@dataclass(frozen=True)
class GlueTask(PredictingTask):
    """GLUE task: columns of its files, and the scores it reports.

    Rows have the hub's column names, ``label`` (class index, or float for regression), and for a
    dev set in parts ``part`` (``matched`` / ``mismatched``).
    """

    folder: str = ""  # name in the official archive
    texts: tuple[Names, ...] = (("sentence",),)
    label: Names = ("label",)
    header: Names | None = None  # columns of a tsv that has no header line
    scores: tuple[str, ...] = ("accuracy",)  # functions of `metrics`, the primary score first
    parts: tuple[str, ...] = ()  # of the dev set; scores of the first part have plain names
    named: bool = False  # submissions hold class names, not class indices
    broken: float = 0.0  # share of broken lines in the official file

    rowwise: ClassVar = True

    def read(self, data: Data, split: str) -> list[Row]:
        check_split(split)
        parts = self.parts if split == "dev" else ()
        if hub.is_hub(data):
            rows = [
                row
                for part in parts or ("",)
                for row in self._from_hub("_".join(filter(None, (_hub_split(split), part))), part)
            ]
        else:
            rows = [
                row
                for path, part in self._paths(Path(str(data)), split, parts)
                for row in self._from_file(path, split, part)
            ]
        return rows

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        first, *second = ([row[names[0]] for row in rows] for names in self.texts)
        arrays, lengths = encode_texts(first, second[0] if second else None, tokenizer, max_length)
        dtype = np.float32 if self.head == "regression" else np.int32
        arrays["labels"] = np.array([row["label"] for row in rows], dtype)
        return Encoded(arrays, lengths)

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        return self.score_predictions(rows, self._predictions(logits))

    def ids(self, rows: Sequence[Row]) -> list[int]:
        return list(range(len(rows)))

    def read_predictions(self, path: Path) -> dict[int, float]:
        return {
            index: self._value(record[glue_files.PREDICTION], where)
            for index, record, where in glue_files.read_predictions(path)
        }

    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[int, float]:
        predictions = self._predictions(logits)
        names = {i: self.labels[int(x)] for i, x in predictions.items()} if self.named else {}
        glue_files.write_predictions(path, names or predictions)
        return predictions

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[int, float]
    ) -> dict[str, float]:
        gold = np.array([row["label"] for row in rows])
        guess = np.array([predictions[i] for i in self.ids(rows)])
        part = np.array([row.get("part", "") for row in rows])
        found = [name for name in self.parts if np.any(part == name)]
        if len(found) < 2:
            return {name: getattr(metrics, name)(guess, gold) for name in self.scores}
        return {
            name + ("" if one == found[0] else f"_{one}"): getattr(metrics, name)(
                guess[part == one], gold[part == one]
            )
            for one in found
            for name in self.scores
        }

    def _paths(self, data: Path, split: str, parts: Names) -> Iterator[tuple[Path, str]]:
        stems = ("train",) if split == "train" else ("dev", "validation")
        for i, part in enumerate(parts or ("",)):
            names = [
                f"{stem}{'_' * bool(part)}{part}.{kind}"
                for stem in stems
                for kind in ("tsv", "jsonl", "csv")
            ]
            names += originals.names_of(self.name, split, part)
            if i and (os.path.isfile(data) or not _exists(data, self._folders, names)):
                continue  # the first part alone is enough
            found = find_file(data, self._folders, names)
            for path in [found] if found == data else originals.files_of(found):
                yield path, part

    @property
    def _folders(self) -> Names:
        inner = originals.folders_of(self.name)
        outer = (self.folder, self.name)
        return (*outer, *inner, *(f"{one}/{other}" for one in outer for other in inner))

    def _from_file(self, path: Path, split: str, part: str) -> list[Row]:
        records = originals.read_original(path)
        if records is None and path.suffix in (".jsonl", ".json"):
            records = read_json_lines(path)
        if records is None:
            records = read_quoted(path, self.header) or read_tsv(path, self.header, self.broken)
        records = originals.own_share(path, split, records)
        rows = self._labelled(((f"{path} line {n}", record) for n, record in records), path, part)
        if not rows:
            raise InputError(f"{path}: no rows; the file is empty")
        return rows

    def _from_hub(self, split: str, part: str) -> list[Row]:
        records = hub.load_rows(HUB, self.name, split)
        place = f"{HUB} {self.name} {split}"
        numbered = ((f"{place} row {i}", record) for i, record in enumerate(records))
        return self._labelled(numbered, place, part)

    def _labelled(
        self, records: Iterable[tuple[str, dict[str, Any]]], source: object, part: str
    ) -> list[Row]:
        """Rows of records that have a label; the others are counted, and left out."""
        rows, dropped = [], 0
        for where, record in records:
            if originals.is_unlabelled(_column(record, self.label, where)):
                dropped += 1
            else:
                rows.append(self._row(record, where, part))
        if dropped and not rows:
            raise InputError(
                f"{shown(source)}: none of its {dropped} rows has a label; give a split with labels"
            )
        if dropped:
            log.warning("%s: %d of %d rows have no label and are left out",
                        shown(source), dropped, dropped + len(rows))  # fmt: skip
        return rows

    def _row(self, record: dict[str, Any], where: str, part: str) -> Row:
        row: Row = {}
        for names in self.texts:
            text = _column(record, names, where)
            if not isinstance(text, str):
                raise InputError(f"{where}: {names[0]} must be text, found {shown(repr(text))}")
            row[names[0]] = text
        value = _column(record, self.label, where)
        row["label"] = self._value(value, where)
        if part:
            row["part"] = part
        return row

    def _predictions(self, logits: np.ndarray) -> dict[int, float]:
        guess = logits[:, 0] if self.head == "regression" else np.argmax(logits, axis=-1)
        return dict(enumerate(guess.tolist()))

    def _value(self, value: Any, where: str) -> float:
        """Label as a number: class index, or the value for regression."""
        return (
            self._number(value, where) if self.head == "regression" else self._class(value, where)
        )

    def _class(self, value: Any, where: str) -> int:
        if isinstance(value, str) and value.strip() in self.labels:
            return self.labels.index(value.strip())
        for number in range(len(self.labels)):
            if str(value).strip() == str(number):
                return number
        known = ", ".join(f"{i} or {name}" for i, name in enumerate(self.labels))
        raise InputError(
            f"{where}: unknown label {shown(repr(value))}; the labels of {self.name} are {known}"
        )

    def _number(self, value: Any, where: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        # Python takes 1_000 for a number.
        if isinstance(value, bool) or "_" in str(value) or not np.isfinite(number):
            raise InputError(
                f"{where}: the label of {self.name} is a number, found {shown(repr(value))}"
            )
        return number


def _hub_split(split: str) -> str:
    return "validation" if split == "dev" else split


def _exists(data: Path, folders: Sequence[str], names: Sequence[str]) -> bool:
    places = (data, *(data / name for name in folders))
    return any(os.path.isfile(folder / name) for folder in places for name in names)


def _column(record: dict[str, Any], names: Sequence[str], where: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
    raise InputError(
        f"{where}: no column {' or '.join(names)}; the columns are "
        f"{shown(', '.join(record) or 'none')}"
    )
