"""Classes and values of texts and pairs of texts, in own data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.base import Encoded, Row
from mpjax.tasks.features import encode_texts
from mpjax.tasks.glue import files as glue_files
from mpjax.tasks.glue import metrics
from mpjax.tasks.own import columns
from mpjax.tasks.own.cleaning import Example, clean
from mpjax.tasks.own.labels import (
    check_labels,
    find_labels,
    index_of,
    label_text,
    lookup,
    number,
    unknown_labels,
)
from mpjax.tasks.own.metrics import macro_f1
from mpjax.tasks.own.places import places
from mpjax.tasks.own.reading.tables import Table
from mpjax.tasks.own.task import OwnTask, ordered

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

_NAMED = 8  # labels named with their rows
_LARGEST = float(np.finfo(np.float32).max)  # labels are float32
_WIDE = 10.0  # standard deviation of values beyond which the loss needs a scale


@dataclass(frozen=True)
class SentenceTask(OwnTask):
    """One or two texts and a label. Rows are ``{"texts": [...], "label"}``."""

    rowwise: ClassVar = True
    usual_texts: ClassVar = columns.TEXTS
    usual_labels: ClassVar = columns.LABELS
    most_texts: ClassVar = 2

    def key(self, row: Row) -> tuple[str, ...]:
        return tuple(row["texts"])

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        firsts = [row["texts"][0] for row in rows]
        seconds = [row["texts"][1] for row in rows] if len(self.texts) == 2 else None
        arrays, lengths = encode_texts(firsts, seconds, tokenizer, max_length)
        dtype = np.float32 if self.head == "regression" else np.int32
        arrays["labels"] = np.array([row["label"] for row in rows], dtype)
        return Encoded(arrays, lengths)

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        return self.score_predictions(rows, self.predictions(logits))

    def ids(self, rows: Sequence[Row]) -> list[int]:
        return list(range(len(rows)))

    def predictions(self, logits: np.ndarray) -> dict[int, float]:
        """Class index, or value, by row index."""
        raise NotImplementedError

    def named(self, prediction: float) -> Any:
        """A prediction as it stands in a file."""
        return prediction

    def value(self, text: Any, where: str) -> float:
        """A prediction of a file as a number."""
        raise NotImplementedError

    def read_predictions(self, path: Path) -> dict[int, float]:
        return {
            index: self.value(record[glue_files.PREDICTION], where)
            for index, record, where in glue_files.read_predictions(path)
        }

    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[int, float]:
        found = self.predictions(logits)
        glue_files.write_predictions(path, {i: self.named(value) for i, value in found.items()})
        return found


@dataclass(frozen=True)
class ClassTask(SentenceTask):
    """Classes of texts; their names are the labels of the training rows."""

    declared: tuple[str, ...] = ()  # names of classes that the data hold by number

    metrics: ClassVar = ("accuracy", "macro_f1", "f1", "matthews")

    def with_labels(self, table: Table, labels: tuple[str, ...] | None) -> ClassTask:
        task = dataclasses.replace(self, declared=table.names.get(self.label, ()))
        if labels is not None:
            return dataclasses.replace(task, labels=labels)
        found = [label_text(example.label, task.declared) for example in task._examples(table)]
        names = [name for name in found if name is not None]
        labels = find_labels(names, task.declared)
        known = lookup(labels)
        counts = Counter(labels[i] for i in (index_of(name, known) for name in names)
                         if i is not None)  # fmt: skip
        check_labels(labels, counts, table.source)
        named = ", ".join(f"{shown(label)} ({counts[label]})" for label in labels[:_NAMED])
        more = ", ..." if len(labels) > _NAMED else ""
        log.info("%s: %d labels (rows): %s%s", table.source, len(labels), named, more)
        return dataclasses.replace(task, labels=labels)

    def rows(self, table: Table) -> list[Row]:
        known, rows, unknown = lookup(self.labels), [], []
        for example in self._examples(table):
            text = label_text(example.label, self.declared) or ""
            index = index_of(text, known)
            if index is None:
                unknown.append((text, example.number))
            else:
                rows.append({"texts": list(example.texts), "label": index})
        if unknown:
            raise unknown_labels(unknown, self.labels, table.source, table.unit)
        return rows

    def stratum(self, row: Row) -> int:
        return row["label"]

    def predictions(self, logits: np.ndarray) -> dict[int, float]:
        return dict(enumerate(np.argmax(logits, axis=-1).tolist()))

    def named(self, prediction: float) -> str:
        return self.labels[int(prediction)]

    def value(self, text: Any, where: str) -> float:
        index = index_of(label_text(text) or "", lookup(self.labels))
        if index is None:
            raise InputError(
                f"{where}: unknown label {shown(repr(text))}; the labels in the data are "
                f"{shown(', '.join(self.labels))}, name all with --labels A,B,C"
            )
        return index

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[int, float]
    ) -> dict[str, float]:
        gold = np.array([row["label"] for row in rows])
        guess = np.array([predictions[i] for i in self.ids(rows)])
        found = {"accuracy": metrics.accuracy(guess, gold), "macro_f1": macro_f1(guess, gold)}
        if len(self.labels) == 2:
            last = self.labels.index(find_labels(self.labels)[-1])
            found |= {
                "f1": metrics.f1(guess == last, gold == last),
                "matthews": metrics.matthews(guess, gold),
            }
        self.check_metric()
        return ordered(found, self.metric)

    def check_metric(self) -> None:
        if self.metric in ("f1", "matthews") and self.labels and len(self.labels) != 2:
            raise InputError(
                f"--metric {self.metric} is for two classes, and there are {len(self.labels)}; use "
                "macro_f1"
            )

    def _examples(self, table: Table) -> tuple[Example, ...]:
        return clean(table, self.texts, self.label, self.declared)


@dataclass(frozen=True)
class ValueTask(SentenceTask):
    """Values of texts, by regression."""

    metrics: ClassVar = ("pearson", "spearman")

    def with_labels(self, table: Table, labels: tuple[str, ...] | None) -> ValueTask:
        values = np.array([row["label"] for row in self.rows(table)])
        spread = float(np.std(values))
        if spread == 0:
            raise InputError(
                f"{table.source}: every row has the value {values[0]:g} in {shown(self.label)}; "
                "there is nothing to learn from them, and no correlation to score"
            )
        if spread > _WIDE or abs(float(np.mean(values))) > _WIDE:
            log.warning(
                "%s: the values of %s have mean %.3g and standard deviation %.3g; training is "
                "easier when they are scaled to about 0 and 1",
                table.source, shown(self.label), np.mean(values), spread,
            )  # fmt: skip
        return self

    def rows(self, table: Table) -> list[Row]:
        rows, wrong = [], []
        for example in clean(table, self.texts, self.label):
            value = _number(example.label)
            if value is None:
                wrong.append(example)
            else:
                rows.append({"texts": list(example.texts), "label": value})
        if wrong:
            which = places([example.number for example in wrong], table.unit)
            raise InputError(
                f"{table.source}: {shown(self.label)} of {which} is no number, or beyond float32, "
                f"such as {shown(repr(wrong[0].label), 60)}; write numbers as 3.5, or use --task "
                "classification for classes"
            )
        return rows

    def predictions(self, logits: np.ndarray) -> dict[int, float]:
        return dict(enumerate(logits[:, 0].tolist()))

    def value(self, text: Any, where: str) -> float:
        found = _number(text)
        if found is None:
            raise InputError(f"{where}: a prediction is a number, found {shown(repr(text))}")
        return found

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[int, float]
    ) -> dict[str, float]:
        gold = np.array([row["label"] for row in rows])
        guess = np.array([predictions[i] for i in self.ids(rows)])
        found = {name: getattr(metrics, name)(guess, gold) for name in self.metrics}
        return ordered(found, self.metric)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    found = number(value if isinstance(value, str) else str(value))
    return None if found is None or abs(found) > _LARGEST else found
