"""Classes of words in own data: named entities by IOB tags, or any other tags."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.base import IGNORE, Encoded, Row
from mpjax.tasks.features import CHUNK, check_room, padding_arrays, tokenized
from mpjax.tasks.glue import files as glue_files
from mpjax.tasks.glue.metrics import accuracy
from mpjax.tasks.own import columns
from mpjax.tasks.own.cleaning import json_cell
from mpjax.tasks.own.entities import OUTSIDE, entity_scores, has_entities
from mpjax.tasks.own.labels import find_labels, label_text, unknown_labels
from mpjax.tasks.own.metrics import macro_f1
from mpjax.tasks.own.places import places
from mpjax.tasks.own.reading.tables import Table
from mpjax.tasks.own.task import OwnTask, ordered

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

_PYTHON_LIST = re.compile(r"\s*\[\s*['\"].*['\"]\s*\]\s*$", re.DOTALL)  # as pandas writes one
_NONE = -1  # prediction for a word beyond the maximal length
Sentence = tuple[int, list[str], list[str]]  # number, words, tags


@dataclass(frozen=True)
class TokenTask(OwnTask):
    """A tag for every word. Rows are ``{"words": [...], "label": [index, ...]}``.

    The first token of a word carries its label, the others have none, as in `transformers`.
    `Encoded.extra` has ``words`` int32 (n, L), the index of the word that begins at a token, else
    -1.
    """

    prediction_files: tuple[str, ...] = (".jsonl",)
    declared: tuple[str, ...] = ()  # names of classes that the data hold by number

    rowwise: ClassVar = True
    usual_texts: ClassVar = columns.WORDS
    usual_labels: ClassVar = columns.TAGS
    metrics: ClassVar = ("f1", "precision", "recall", "accuracy", "macro_f1")

    def with_labels(self, table: Table, labels: tuple[str, ...] | None) -> TokenTask:
        task = dataclasses.replace(self, declared=table.names.get(self.label, ()))
        counts = Counter(tag for _, _, tags in task._sentences(table) for tag in tags)
        found = labels or find_labels(counts, task.declared)
        if len(found) < 2:
            raise InputError(f"{table.source}: all words have the tag {shown(next(iter(found)))}")
        if len(found) > 1000:
            raise InputError(
                f"{table.source}: {len(found)} different tags are no classes; name the column of "
                "the tags with --label"
            )
        named = has_entities(found)
        if not named and labels is None:
            log.warning(
                "%s: the tags %s have no IOB form (O, B-PER, I-PER), so that words are scored by "
                "macro F1, not entities",
                table.source, shown(", ".join(found)),
            )  # fmt: skip
        return dataclasses.replace(task, labels=found, metric="f1" if named else "macro_f1")

    def rows(self, table: Table) -> list[Row]:
        known = {name: i for i, name in enumerate(self.labels)}
        rows, unknown = [], []
        for number, words, tags in self._sentences(table):
            unknown += [(tag, number) for tag in tags if tag not in known]
            rows.append({"words": words, "label": [known.get(tag, 0) for tag in tags]})
        if unknown:
            raise unknown_labels(unknown, self.labels, table.source, table.unit)
        return rows

    def key(self, row: Row) -> tuple[str, ...]:
        return tuple(row["words"])

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        if not tokenizer.is_fast:
            raise InputError(f"{self.name} needs a fast tokenizer (a tokenizer.json)")
        check_room(tokenizer, max_length, pair=False)
        n = len(rows)
        arrays = padding_arrays(n, max_length, tokenizer)
        arrays["labels"] = np.full((n, max_length), IGNORE, np.int32)
        begins = np.full((n, max_length), _NONE, np.int32)
        lengths = np.zeros(n, np.int32)
        for start in range(0, n, CHUNK):
            part = rows[start : start + CHUNK]
            out = tokenized(
                tokenizer,
                [" ".join(row["words"]) for row in part],
                truncation=True,
                max_length=max_length,
                return_token_type_ids=True,
                return_offsets_mapping=True,
            )
            for i, row in enumerate(part):
                ids, at = out["input_ids"][i], start + i
                lengths[at] = length = len(ids)
                arrays["input_ids"][at, :length] = ids
                arrays["attention_mask"][at, :length] = 1
                arrays["token_type_ids"][at, :length] = out["token_type_ids"][i]
                words = first_tokens(row["words"], out["offset_mapping"][i])
                begins[at, :length] = words
                tags = np.asarray(row["label"], np.int32)
                arrays["labels"][at, :length] = np.where(words < 0, IGNORE, tags[words])
        return Encoded(arrays, lengths, {"words": begins})

    def note(self, rows: Sequence[Row], encoded: Encoded) -> None:
        total, begins = sum(len(row["words"]) for row in rows), encoded.extra["words"]
        found = sum(int(np.sum(begins[i : i + CHUNK] >= 0)) for i in range(0, len(begins), CHUNK))
        if found < total:
            log.warning(
                "%d of %d words have no token within --max-length %d: they are not learnt from, "
                "and count as wrong where they are scored",
                total - found, total, encoded.width,
            )  # fmt: skip

    def predict(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> list[list[int]]:
        """Class index of every word; -1 for words without a token in the encoded row."""
        best, found = np.argmax(logits, axis=-1), []
        for i, row in enumerate(rows):
            guess = np.full(len(row["words"]), _NONE)
            at = np.flatnonzero(encoded.extra["words"][i] >= 0)
            guess[encoded.extra["words"][i, at]] = best[i, at]
            found.append(guess.tolist())
        return found

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        return self.score_predictions(rows, dict(enumerate(self.predict(rows, encoded, logits))))

    def ids(self, rows: Sequence[Row]) -> list[int]:
        return list(range(len(rows)))

    def read_predictions(self, path: Path) -> dict[int, list[int]]:
        known: dict[Any, int] = {name: i for i, name in enumerate(self.labels)} | {None: _NONE}
        found = {}
        for index, record, where in glue_files.read_predictions(path):
            tags = record[glue_files.PREDICTION]
            if not isinstance(tags, list) or not all(isinstance(t, str | None) for t in tags):
                raise InputError(f"{where}: a prediction is a list of tags, found {shown(tags)}")
            if strange := [tag for tag in tags if tag not in known]:
                raise InputError(
                    f"{where}: unknown tag {shown(repr(strange[0]))}; the tags in the data are "
                    f"{shown(', '.join(self.labels))}, name all with --labels A,B,C"
                )
            found[index] = [known[tag] for tag in tags]
        return found

    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[int, list[int]]:
        found = dict(enumerate(self.predict(rows, encoded, logits)))
        named = {i: [None if x < 0 else self.labels[x] for x in each] for i, each in found.items()}
        glue_files.write_predictions(path, named)
        return found

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[int, list[int]]
    ) -> dict[str, float]:
        for i, row in enumerate(rows):
            if len(predictions[i]) != len(row["words"]):
                raise InputError(
                    f"--predictions: row {i} has {len(predictions[i])} tags and "
                    f"{len(row['words'])} words; every word needs one"
                )
        guess = np.array([x for i in range(len(rows)) for x in predictions[i]])
        gold = np.array([x for row in rows for x in row["label"]])
        found = {"accuracy": accuracy(guess, gold), "macro_f1": macro_f1(guess, gold)}
        if has_entities(self.labels):
            names = (*self.labels, OUTSIDE)  # the last for words without a prediction
            pairs = [(predictions[i], row["label"]) for i, row in enumerate(rows)]
            tags = [[[names[x] for x in each] for each in pair] for pair in pairs]
            found = {**entity_scores(*zip(*tags, strict=True)), **found}
        self.check_metric()
        return ordered(found, self.metric)

    def check_metric(self) -> None:
        plain = self.metric in ("accuracy", "macro_f1")
        if not plain and self.labels and not has_entities(self.labels):
            raise InputError(f"--metric {self.metric} is for IOB tags; use macro_f1 or accuracy")

    def _sentences(self, table: Table) -> tuple[Sentence, ...]:
        return _read(table, self.texts[0], self.label, self.declared)


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Index of the word that begins at each token of the words joined by blanks, else -1.

    Args:
      offsets: character range of each token, empty for special tokens.

    >>> first_tokens(["ab", "c"], [(0, 0), (0, 1), (1, 2), (3, 4), (0, 0)]).tolist()
    [-1, 0, -1, 1, -1]
    """
    ends = np.cumsum([len(word) + 1 for word in words]) - 1  # one past the last character
    ranges = np.asarray(offsets).reshape(-1, 2)
    # By the last character: byte-level tokenizers may count the blank before a word as its own.
    word = np.searchsorted(ends, ranges[:, 1] - 1, side="right")
    word = np.where(ranges[:, 1] > ranges[:, 0], word, _NONE)
    _, first = np.unique(word, return_index=True)
    is_first = np.zeros(len(word), bool)
    is_first[first] = True
    return np.where(is_first, word, _NONE)


@lru_cache(maxsize=4)
def _read(table: Table, text: str, label: str, declared: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Words and tags of a table; sentences without words or tags are dropped and said."""
    found: list[Sentence] = []
    empty: list[int] = []
    uneven: list[tuple[int, int, int]] = []
    # Few tags, many times. 1.0 and True are equal, and not the same tag.
    tag_text = lru_cache(maxsize=1024, typed=True)(lambda tag: label_text(tag, declared))
    for number, record in table.records:
        words = _items(record.get(text), table.where(number), text)
        given = _items(record.get(label), table.where(number), label)
        if any(type(tag) is int and tag < 0 for tag in given) and not declared:
            raise InputError(
                f"{table.where(number)}: a tag in {shown(label)} is negative, as the mark of words "
                "to ignore; give every word its tag"
            )
        tags = [tag_text(tag) for tag in given]
        named = [tag for tag in tags if tag is not None]
        if not words or not named:
            empty.append(number)
        elif len(words) != len(named):
            uneven.append((number, len(words), len(named)))
        else:
            found.append((number, [str(word) for word in words], named))
    if uneven:
        number, words, tags = uneven[0]
        raise InputError(
            f"{table.source}: {places([each[0] for each in uneven], table.unit)} have another "
            f"number of tags than of words ({table.unit} {number}: {words} words, {tags} tags); "
            "give every word one tag"
        )
    if empty:
        log.warning(
            "%s: %s dropped: no words or no tags",
            table.source, places(empty, table.unit),
        )  # fmt: skip
    if not found:
        raise InputError(
            f"{table.source}: none of {len(table.records)} rows has both words in {shown(text)} "
            f"and tags in {shown(label)}; check --text and --label"
        )
    return tuple(found)


def _items(value: Any, where: str, name: str) -> list[Any]:
    """Words or tags of a cell: a list, or text that is split at blanks."""
    if value is None:
        return []
    if isinstance(value, str):
        value = _parsed(value, where, name)
    if isinstance(value, list) and {list, dict, type(None)}.isdisjoint(map(type, value)):
        return value
    raise InputError(
        f"{where}: {shown(name)} must be a list or text with blanks, found {shown(repr(value), 60)}"
    )


def _parsed(text: str, where: str, name: str) -> list[Any]:
    """Items of a text: those of a JSON list, or what stands between blanks."""
    found = json_cell(text)
    if isinstance(found, list):
        return found
    if _PYTHON_LIST.match(text):
        raise InputError(
            f"{where}: {shown(name)} is {shown(text, 60)}, the text of a Python list; save the "
            "data as jsonl or parquet, or with blanks between the items"
        )
    return text.split()
