"""Tasks on own data: a file, a folder or a hub data set, with columns that the user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.base import Data, DataOptions, PredictingTask, Row, check_split
from mpjax.tasks.own import cleaning
from mpjax.tasks.own.columns import Usual, check_columns, choose_columns
from mpjax.tasks.own.reading.sources import ALL, DEV, TRAIN, read_sources
from mpjax.tasks.own.reading.tables import Table
from mpjax.tasks.own.split import split_rows


@dataclass(frozen=True)
class OwnTask(PredictingTask):
    """Task whose columns and labels follow from the data, by `fit`.

    A template has no columns; reading with it fits it first.
    """

    texts: tuple[str, ...] = ()  # columns of text
    label: str = ""  # column of the label
    dev_share: float | None = None  # of a file without dev rows; None = all of it is dev
    split_seed: int = 0

    usual_texts: ClassVar[Usual] = ()
    usual_labels: ClassVar[Usual] = ()
    most_texts: ClassVar[int] = 1
    most_labels: ClassVar[int] = 1
    metrics: ClassVar[tuple[str, ...]] = ()  # names for --metric

    def check_metric(self) -> None:
        """Raises `InputError` for a primary score that the labels do not have."""

    def fit(self, data: Data, options: DataOptions) -> OwnTask:
        tables = self.tables(data)
        table = _training(tables)
        texts = choose_columns(
            options.text, self.usual_texts, table.columns, "--text", table.source, self.most_texts
        )
        rest = [name for name in table.columns if name not in texts]
        label = choose_columns(
            options.label, self.usual_labels, rest, "--label", table.source, self.most_labels
        )
        task = dataclasses.replace(
            self, texts=texts, dev_share=options.dev_share, split_seed=options.split_seed
        ).with_label(label, table)
        for each in tables.values():
            check_columns((*texts, task.label), each.columns, each.source)
        task = with_metric(task.with_labels(table, options.labels), options.metric)
        if options.labels is None:
            task.note_repeats(tables)
        return task

    def tables(self, data: Data) -> Mapping[str, Table]:
        """Tables of the data by what they are for, as `read_sources`."""
        return read_sources(data)

    def with_label(self, names: tuple[str, ...], table: Table) -> OwnTask:
        """The task with the columns of its label, at most `most_labels`."""
        return dataclasses.replace(self, label=names[0])

    def note_repeats(self, tables: Mapping[str, Table]) -> None:
        """Notes texts with several labels, and dev texts that are among the training texts."""
        pairs = {
            role: [(self.key(row), str(row["label"])) for row in self.rows(table)]
            for role, table in tables.items()
        }
        name = _training(tables).source
        cleaning.note_repeats(pairs.get(TRAIN, pairs.get(ALL, ())), pairs.get(DEV, ()), name)

    def with_labels(self, table: Table, labels: tuple[str, ...] | None) -> OwnTask:
        """The task with given labels, or with those of the training rows."""
        return self

    @property
    def fitted(self) -> dict[str, Any]:
        return {
            "text": list(self.texts), "label": self.label, "labels": list(self.labels),
            "metric": self.metric,
        }  # fmt: skip

    def read(self, data: Data, split: str) -> list[Row]:
        check_split(split)
        if not self.texts:
            return self.fit(data, DataOptions()).read(data, split)
        tables = self.tables(data)
        for table in tables.values():
            check_columns((*self.texts, self.label), table.columns, table.source)
        if split in tables:
            return self.rows(tables[split])
        if self.dev_share is None and DEV not in tables and TRAIN in tables and split == DEV:
            raise InputError(
                f"--data {shown(data)} has no dev file; give one, or --dev-share to split off rows "
                "of the training file"
            )
        if ALL not in tables and DEV in tables:
            raise InputError(f"--data {shown(data)} has no file train.*; give one")
        rows = self.rows(_training(tables))
        return rows if self.dev_share is None else self._part(rows, split, str(data))

    def rows(self, table: Table) -> list[Row]:
        """Rows of a table; those without text or label are dropped."""
        raise NotImplementedError

    def key(self, row: Row) -> Any:
        """Text of a row; rows of one text lie on the same side of a split."""
        raise NotImplementedError

    def stratum(self, row: Row) -> int:
        """Class of a row, of which each side of a split has about the same share."""
        return 0

    def _part(self, rows: Sequence[Row], split: str, name: str) -> list[Row]:
        assert self.dev_share is not None
        keys = [self.key(row) for row in rows]
        train, dev = split_rows(
            keys,
            [self.stratum(row) for row in rows],
            self.dev_share,
            self.split_seed,
        )
        if not dev:
            raise InputError(
                f"--data {shown(name)}: {len(rows)} rows with {len(set(keys))} different texts are "
                "too few to split; give a folder with a file train and a file dev"
            )
        if split == TRAIN:
            log.info(
                "%s: %d rows to train on and %d for dev, split with --dev-share %g --split-seed %d",
                shown(name), len(train), len(dev), self.dev_share, self.split_seed,
            )  # fmt: skip
        return [rows[i] for i in (train if split == TRAIN else dev)]


def with_metric(task: OwnTask, metric: str | None) -> OwnTask:
    """The task with another primary score; `InputError` for one that it does not have."""
    if metric is None:
        return task
    if metric not in task.metrics:
        raise InputError(
            f"--metric is {shown(repr(metric))}; {task.name} has {', '.join(task.metrics)}"
        )
    made = dataclasses.replace(task, metric=metric)
    made.check_metric()
    return made


def ordered(scores: dict[str, float], first: str) -> dict[str, float]:
    """Scores with the primary one first."""
    return {first: scores[first], **scores}


def _training(tables: Mapping[str, Table]) -> Table:
    return next(tables[role] for role in (TRAIN, ALL, DEV) if role in tables)
