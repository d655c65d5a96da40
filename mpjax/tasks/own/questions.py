"""Questions about passages in own data, with and without answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.base import Data, DataOptions, Row
from mpjax.tasks.own import columns
from mpjax.tasks.own.answers import cell_answers, placed
from mpjax.tasks.own.cleaning import note_repeats, text_cell
from mpjax.tasks.own.places import places
from mpjax.tasks.own.reading.questions import mended_question_table, read_question_table
from mpjax.tasks.own.reading.sources import ALL, DEV, TRAIN, read_sources
from mpjax.tasks.own.reading.tables import Record, Table
from mpjax.tasks.own.task import OwnTask, ordered
from mpjax.tasks.squad.faults import Faults
from mpjax.tasks.squad.files import settled
from mpjax.tasks.squad.mending import Place, question
from mpjax.tasks.squad.task import SquadTask

_LARGE_SHARE = 0.9  # of questions without an answer, for a warning
ID = "id"


@dataclass(frozen=True)
class QuestionTask(OwnTask, SquadTask):
    """Extractive question answering. Rows are those of `read_questions`.

    If a question has no answer, the task is that of SQuAD v2.0: a model may give none, and scores
    count such questions.
    """

    prediction_files: tuple[str, ...] = (".json",)
    start: str = ""  # column of the answers' first characters, where there is one

    usual_texts: ClassVar = columns.PASSAGES
    usual_labels: ClassVar = columns.ANSWERS
    most_texts: ClassVar = 2
    most_labels: ClassVar = 2
    metrics: ClassVar = ("f1", "exact_match")

    def fit(self, data: Data, options: DataOptions) -> QuestionTask:
        known = dataclasses.replace(self, unanswerable=bool(options.unanswerable))
        task = OwnTask.fit(known, data, options)
        assert isinstance(task, QuestionTask)
        found = [_unanswered(task, table) for table in task.tables(data).values()]
        if any(found) and options.unanswerable is False:
            log.warning(
                "%s: questions without an answer are scored as in SQuAD v2.0, but the run was "
                "trained on none, so that it has not learned to give no answer",
                shown(data),
            )
        return dataclasses.replace(task, unanswerable=task.unanswerable or any(found))

    @property
    def fitted(self) -> dict[str, Any]:
        label = ",".join(name for name in (self.label, self.start) if name)
        return {**super().fitted, "label": label, "unanswerable": self.unanswerable}

    def tables(self, data: Data) -> Mapping[str, Table]:
        return read_sources(data, mended_question_table if self.repair else read_question_table)

    def with_label(self, names: tuple[str, ...], table: Table) -> QuestionTask:
        usual = [name for name in columns.STARTS if name in table.columns]
        label, start = (*names, *usual, "")[:2]
        return dataclasses.replace(self, label=label, start=start)

    def with_labels(self, table: Table, labels: tuple[str, ...] | None) -> QuestionTask:
        if len(self.texts) != 2:
            raise InputError(
                f"--text {shown(','.join(self.texts))}: name two columns, of the passage and of "
                "the question, as --text context,question"
            )
        rows = self.rows(table)
        if not self.unanswerable and not any(row["answers"]["text"] for row in rows):
            raise InputError(
                f"{table.source}: none of {len(rows)} questions has an answer in "
                f"{shown(self.label)}; name the column of the answers with --label"
            )
        return self

    def note_repeats(self, tables: Mapping[str, Table]) -> None:
        pairs = {
            role: [((row["context"], row["question"]), str(row["answers"]["text"]))
                   for row in self.rows(table)]
            for role, table in tables.items()
        }  # fmt: skip
        train = TRAIN if TRAIN in pairs else ALL
        source = next(iter(tables.values())).source
        note_repeats(
            pairs.get(train, ()), pairs.get(DEV, ()), source, kinds=("questions", "answers")
        )

    def rows(self, table: Table) -> list[Row]:
        return list(_read(table, self.texts, self.label, self.start, self.repair))

    def key(self, row: Row) -> str:
        """The passage, whose questions lie on one side of a split."""
        return row["context"]

    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[str, str]
    ) -> dict[str, float]:
        return ordered(super().score_predictions(rows, predictions), self.metric)


@lru_cache(maxsize=4)  # a run asks for the rows of a table several times, and each is said once
def _read(
    table: Table, texts: tuple[str, ...], label: str, start: str, repair: bool
) -> tuple[Row, ...]:
    """Rows of a table; those without text, or whose answer has no certain place, are dropped."""
    names, faults = _ids(table), Faults(table.source)
    found: list[Row | None] = []
    empty: list[int] = []
    absent: list[int] = []
    several: list[int] = []
    partly: list[int] = []
    for (number, record), name in zip(table.records, names, strict=True):
        where = table.where(number)
        context, text = (text_cell(record, column, where)[0] for column in texts)
        answers = cell_answers(record.get(label), record.get(start) if start else None, where)
        certain = placed(answers, context)
        if not (context and text):
            empty.append(number)
        elif answers and not certain:
            inside = any(answer.text.strip() in context for answer in answers)
            (several if inside else absent).append(number)
        else:
            partly += [number] if len(certain) < len(answers) else []
            asked = {ID: name, "question": text, "answers": list(map(_squad, certain))}
            place = Place(context, where, str(record.get("title") or ""), name)
            found.append(question(asked, place, faults, may_be_empty=True))
    for numbers, what in (
        (empty, "empty passage or question"),
        (absent, "the answer does not stand in the passage"),
        (several, "the answer stands in the passage several times, and its start is not given"),
    ):
        if numbers:
            said = places(numbers, table.unit)
            log.warning("%s: %s dropped: %s", table.source, said, what)
    if partly:
        log.warning(
            "%s: of the answers of %s some are left out, as they stand in the passage several "
            "times or not at all, without a start: a prediction like them counts as wrong",
            table.source, places(partly, table.unit),
        )  # fmt: skip
    if not found:
        raise InputError(
            f"{table.source}: none of {len(table.records)} questions can be used, with the passage "
            f"in {shown(texts[0])}, the question in {shown(texts[1])} and the answer in "
            f"{shown(label)}; check --text, where the passage comes first, and --label"
        )
    return tuple(settled(found, faults, repair))


def _squad(answer: tuple[str, Any]) -> dict[str, Any]:
    return {"text": answer[0], "answer_start": answer[1]}


def _ids(table: Table) -> list[str]:
    """Ids of the records: those of the column ``id`` if all differ, else their line numbers."""
    numbers = [str(number) for number, _ in table.records]
    if ID not in table.columns:
        return numbers
    given = [_id(record) for _, record in table.records]
    if all(given) and len(set(given)) == len(given):
        return given
    log.info(
        "%s: the column %s does not tell the questions apart; predictions go by %s numbers",
        table.source, ID, table.unit,
    )  # fmt: skip
    return numbers


def _id(record: Record) -> str:
    value = record.get(ID)
    return str(value) if isinstance(value, str | int) else ""


def _unanswered(task: QuestionTask, table: Table) -> int:
    """Number of questions without an answer, which is said."""
    rows = task.rows(table)
    count = sum(not row["answers"]["text"] for row in rows)
    if count > _LARGE_SHARE * len(rows):
        log.warning(
            "%s: %.1f%% of the questions have no answer, so that a model which never answers "
            "scores as much F1",
            table.source, 100 * count / len(rows),
        )  # fmt: skip
    elif count:
        log.info(
            "%s: %d of %d questions have no answer, so that the task is that of SQuAD v2.0",
            table.source, count, len(rows),
        )  # fmt: skip
    return count
