"""What a task is: an interface with three methods, and the arrays that pass between them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mpjax.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    Tokenizer = PreTrainedTokenizerBase

Head = Literal["classification", "regression", "qa", "mlm"]
Data = str | Path | None
Row = dict[str, Any]

SPLITS = ("train", "dev")
IGNORE = -100  # a label that takes no part in the loss


@dataclass(frozen=True)
class Encoded:
    """Rows of a data set as arrays, each padded on the right to one width L.

    `arrays` is what a batch is cut from: ``input_ids``, ``attention_mask``, ``token_type_ids``
    int32 (n, L), and the labels of the head:

    * classification: ``labels`` int32 (n,);  regression: ``labels`` float32 (n,)
    * qa: ``start_positions``, ``end_positions`` int32 (n,)
    * mlm: ``labels`` int32 (n, L), -100 where nothing is asked

    A distilled run adds ``teacher_logits`` float32, (n, classes) or (n, L, 2).

    `lengths` int32 (n,) counts real tokens. `extra` holds what scoring needs and the model does
    not. For ``qa`` a row here is a window of a passage, so n can exceed the number of rows read.
    """

    arrays: dict[str, np.ndarray]
    lengths: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """The padded length L."""
        return self.arrays["input_ids"].shape[1]


@dataclass(frozen=True)
class Task(abc.ABC):
    """One task. Settings are fields, so ``dataclasses.replace`` makes a variant."""

    name: str
    head: Head
    labels: tuple[str, ...] = ()  # class names in the order of the logits
    metric: str = "accuracy"  # key of the primary score; higher is better

    @property
    def num_labels(self) -> int:
        """Outputs of the head: classes, 1 for regression, 2 (start, end) for qa, 0 for mlm."""
        return {"regression": 1, "qa": 2, "mlm": 0}.get(self.head, len(self.labels))

    @abc.abstractmethod
    def read(self, data: Data, split: str) -> list[Row]:
        """Rows of a split (``train`` or ``dev``) of a folder, a file, or (None, ``"hub"``) the hub.

        Raises `InputError` naming the file and the line or record that is wrong.
        """

    @abc.abstractmethod
    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        """Rows as arrays of width `max_length`; longer texts are cut (qa: in windows)."""

    @abc.abstractmethod
    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        """Scores in percent, the primary one (`metric`) first.

        `logits` float (n, classes), (n, 1) for regression, (n, L, 2) for qa, (n, L, vocabulary)
        for mlm, row i belonging to row i of `encoded`. Positions past a row's length are not read.
        """


@dataclass(frozen=True)
class PredictingTask(Task):
    """A task whose predictions have a file of their own and can be scored without a model.

    Predictions are a value by id: a question's id, or the number of a row counted from 0.
    """

    prediction_files: tuple[str, ...] = (".tsv", ".jsonl")  # suffixes

    @abc.abstractmethod
    def ids(self, rows: Sequence[Row]) -> list[Any]:
        """The id of every row, in their order."""

    @abc.abstractmethod
    def read_predictions(self, path: Path) -> dict[Any, Any]:
        """A prediction file. `InputError` names the file and the record that is wrong."""

    @abc.abstractmethod
    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[Any, Any]:
        """Writes what the logits say (see `score`), and returns it by id."""

    @abc.abstractmethod
    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[Any, Any]
    ) -> dict[str, float]:
        """Scores in percent, the primary one first; every row has a prediction."""


def check_split(split: str) -> None:
    """`InputError` unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
