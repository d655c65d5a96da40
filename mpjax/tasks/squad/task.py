"""Extractive question answering: SQuAD v1.1 and v2.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks import hub
from mpjax.tasks.base import ROW, Data, Encoded, PredictingTask, Row, check_split
from mpjax.tasks.features import padding_arrays, tokenized
from mpjax.tasks.reading import find_file
from mpjax.tasks.squad import files as squad_files
from mpjax.tasks.squad import metrics as squad_metrics
from mpjax.tasks.squad.files import check_rows, read_questions
from mpjax.tasks.squad.windows import PairTemplate, max_context, window_ranges

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer


class Predictions(NamedTuple):
    """Answers by question id."""

    best: dict[str, str]
    nbest: dict[str, list[dict[str, Any]]]  # texts with logits and probabilities
    null_odds: dict[str, float]  # v2: null score minus best score


@dataclass(frozen=True)
class SquadTask(PredictingTask):
    """Extractive question answering on rows of `read_questions`.

    `Encoded.extra`:

    * ``row``: int32 (n,), index of the question of each window
    * ``offsets``: int32 (n, L, 2), character range of each passage token, -1 elsewhere
    * ``begins``: bool (n, L), tokens at which an answer may begin: tokens with maximal context
    """

    prediction_files: tuple[str, ...] = (".json",)
    hub_name: str = "rajpurkar/squad"
    version: str = "v1.1"
    unanswerable: bool = False  # v2: questions without an answer
    doc_stride: int = 128  # tokens between the starts of windows
    max_query_length: int = 64  # tokens of the question; the rest is truncated
    n_best: int = 20
    max_answer_length: int = 30  # tokens
    null_threshold: float = 0.0  # v2: no answer if null score - best score exceeds it
    repair: bool = False  # mend faults of files, or leave faulty questions out

    rowwise: ClassVar = True

    def read(self, data: Data, split: str) -> list[Row]:
        check_split(split)
        if not hub.is_hub(data):
            names = [f"{split}-{self.version}.json", f"{split}.json"]
            path = find_file(Path(str(data)), (self.name,), names)
            return read_questions(path, self.unanswerable, self.repair)
        rows = hub.load_rows(self.hub_name, None, "validation" if split == "dev" else split)
        return check_rows(rows, f"{self.hub_name} {split}", self.unanswerable, self.repair)

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        template = PairTemplate.of(tokenizer)
        questions = _tokens(tokenizer, [row["question"] for row in rows])
        contexts = list(dict.fromkeys(row["context"] for row in rows))
        passages = dict(zip(contexts, _tokens(tokenizer, contexts), strict=True))
        windows = [
            window
            for i, row in enumerate(rows)
            for window in self._windows(i, row, questions[i], passages[row["context"]], max_length,
                                        template)
        ]  # fmt: skip
        n = len(windows)
        arrays = padding_arrays(n, max_length, tokenizer)
        offsets = np.full((n, max_length, 2), -1, np.int32)
        begins = np.zeros((n, max_length), bool)
        for w, window in enumerate(windows):
            length, at, size = len(window.ids), window.at, len(window.offsets)
            arrays["input_ids"][w, :length] = window.ids
            arrays["attention_mask"][w, :length] = 1
            arrays["token_type_ids"][w, :length] = window.types
            offsets[w, at : at + size] = window.offsets
            begins[w, at : at + size] = window.begins
        arrays["start_positions"] = np.array([w.start for w in windows], np.int32)
        arrays["end_positions"] = np.array([w.end for w in windows], np.int32)
        return Encoded(
            arrays,
            lengths=np.array([len(w.ids) for w in windows], np.int32),
            extra={
                ROW: np.array([w.row for w in windows], np.int32),
                "offsets": offsets,
                "begins": begins,
            },
        )

    def predict(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> Predictions:
        """Answers from start and end logits (n_windows, L, 2).

        Candidates of a question are the spans of its windows from one of the `n_best` starts to one
        of the `n_best` ends of a window, at most `max_answer_length` tokens long, ranked by start
        logit + end logit; equal texts count once. For v2 the null score is the smallest [CLS] score
        of the windows, and the empty answer is a candidate.
        """
        logits = np.asarray(logits, np.float64)
        by_row: dict[int, list[int]] = {}
        for w, row in enumerate(encoded.extra[ROW].tolist()):
            by_row.setdefault(row, []).append(w)
        result = Predictions({}, {}, {})
        for i, row in enumerate(rows):
            windows = by_row.get(i, [])
            cands = [c for w in windows for c in self._candidates(encoded, logits[w], w)]
            ranked = _ranked(cands, row["context"], self.n_best)
            first = ranked[0] if ranked else None
            answer = first["text"] if first else ""
            if self.unanswerable and windows:
                null = min((logits[w, 0] for w in windows), key=lambda pair: pair.sum())
                empty = {"text": "", "start_logit": float(null[0]), "end_logit": float(null[1])}
                odds = _sum(empty) - (_sum(first) if first else 0.0)
                result.null_odds[row["id"]] = odds
                answer = "" if odds > self.null_threshold else answer
                ranked = sorted([*ranked, empty], key=_sum, reverse=True)[: self.n_best]
            if not ranked:
                ranked = [{"text": "", "start_logit": 0.0, "end_logit": 0.0}]
            result.best[row["id"]] = answer
            result.nbest[row["id"]] = _with_probabilities(ranked)
        return result

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        predictions = self.predict(rows, encoded, logits)
        scores = self.score_predictions(rows, predictions.best)
        if set(predictions.null_odds) < set(self.ids(rows)) or not self.unanswerable:
            return scores
        # The best text of the passage, whatever the null score; the empty one is among the others.
        answers = {
            name: next((entry["text"] for entry in entries if entry["text"]), "")
            for name, entries in predictions.nbest.items()
        }
        return scores | squad_metrics.best_scores(rows, answers, predictions.null_odds)

    def ids(self, rows: Sequence[Row]) -> list[str]:
        return [row["id"] for row in rows]

    def read_predictions(self, path: Path) -> dict[str, str]:
        return squad_files.read_predictions(path)

    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[str, str]:
        best, nbest, null_odds = self.predict(rows, encoded, logits)
        odds = null_odds if self.unanswerable else None
        squad_files.write_predictions(path, best, nbest, odds)
        return best

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[str, str]
    ) -> dict[str, float]:
        """Official metrics of answers by question id, ``f1`` first."""
        return squad_metrics.squad_scores(rows, predictions, v2=self.unanswerable)

    def scores_beside(self, path: Path, rows: Sequence[Row]) -> dict[str, float]:
        """Scores of v2 at the best null thresholds, of the n best answers and null odds there."""
        found = squad_files.read_odds(path) if self.unanswerable else None
        if found is None:
            return {}
        if not all(identity in part for part in found for identity in self.ids(rows)):
            log.warning("%s: the files beside it are of other questions, and not read", path)
            return {}
        return squad_metrics.best_scores(rows, *found)

    def _windows(
        self,
        i: int,
        row: Row,
        question: _Text,
        passage: _Text,
        max_length: int,
        template: PairTemplate,
    ) -> list[_Window]:
        query = question.ids[: self.max_query_length]
        room = max_length - template.special - len(query)
        if room < 1:
            raise InputError(
                f"--max-length {max_length} leaves no room for the passage after question "
                f"{shown(row['id'])} of {len(query)} tokens; raise it"
            )
        ranges = list(window_ranges(len(passage.ids), room, self.doc_stride))
        wanted = _token_span(row, passage.offsets)
        windows = []
        for (begin, end), best in zip(ranges, max_context(ranges, len(passage.ids)), strict=True):
            ids, types, at = template.join(query, passage.ids[begin:end])
            start, stop = 0, 0  # [CLS]: no answer in this window
            if wanted is not None and begin <= wanted[0] and wanted[1] < end:
                start, stop = wanted[0] - begin + at, wanted[1] - begin + at
            windows.append(
                _Window(i, ids, types, at, passage.offsets[begin:end], best, start, stop)
            )
        return windows

    def _candidates(
        self, encoded: Encoded, logits: np.ndarray, w: int
    ) -> list[tuple[int, int, float, float]]:
        """Spans of one window: (begin, end) characters, start logit, end logit."""
        length = int(encoded.lengths[w])
        offsets = encoded.extra["offsets"][w, :length]
        start, end = logits[:length, 0], logits[:length, 1]
        # The n best of all tokens are filtered afterwards, as in the published code (run_squad.py).
        starts = np.argsort(-start, kind="stable")[: self.n_best]
        ends = np.argsort(-end, kind="stable")[: self.n_best]
        starts = starts[encoded.extra["begins"][w, starts]]
        ends = ends[offsets[ends, 0] >= 0]
        return [
            (int(offsets[s, 0]), int(offsets[e, 1]), float(start[s]), float(end[e]))
            for s in starts
            for e in ends
            if s <= e < s + self.max_answer_length
        ]


class _Text(NamedTuple):
    """Tokens of a text."""

    ids: np.ndarray  # int32 (n,)
    offsets: np.ndarray  # int32 (n, 2), character ranges


class _Window(NamedTuple):
    """One window of a question and its passage."""

    row: int  # index of the question
    ids: np.ndarray
    types: np.ndarray
    at: int  # index of the first passage token
    offsets: np.ndarray  # of the passage tokens
    begins: np.ndarray  # of the passage tokens
    start: int  # first answer token, 0 for none in this window
    end: int  # last answer token


def _tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[_Text]:
    if not texts:
        return []
    if not tokenizer.is_fast:
        raise InputError("question answering needs a fast tokenizer (a tokenizer.json)")
    out = tokenized(
        tokenizer,
        list(texts),
        add_special_tokens=False,
        truncation=False,
        padding=False,
        return_offsets_mapping=True,
        verbose=False,  # no warning: longer passages are split in windows later
    )
    return [
        _Text(np.asarray(ids, np.int32), np.asarray(offsets, np.int32).reshape(-1, 2))
        for ids, offsets in zip(out["input_ids"], out["offset_mapping"], strict=True)
    ]


def _token_span(row: Row, offsets: np.ndarray) -> tuple[int, int] | None:
    """First and last passage token of the first gold answer, None without an answer."""
    answers = row["answers"]
    if not answers["text"] or not len(offsets):
        return None
    begin = answers["answer_start"][0]
    end = begin + len(answers["text"][0])
    inside = np.flatnonzero((offsets[:, 1] > begin) & (offsets[:, 0] < end))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def _ranked(
    candidates: list[tuple[int, int, float, float]], context: str, n: int
) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for begin, end, start_logit, end_logit in sorted(
        candidates, key=lambda c: c[2] + c[3], reverse=True
    ):
        text = context[begin:end]
        if text not in best:
            best[text] = {"text": text, "start_logit": start_logit, "end_logit": end_logit}
        if len(best) == n:
            break
    return list(best.values())


def _sum(entry: dict[str, Any]) -> float:
    return entry["start_logit"] + entry["end_logit"]


def _with_probabilities(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums = np.array([_sum(entry) for entry in entries])
    weights = np.exp(sums - sums.max())
    return [
        {"text": entry["text"], "probability": float(p), **{k: entry[k] for k in entry}}
        for entry, p in zip(entries, weights / weights.sum(), strict=True)
    ]
