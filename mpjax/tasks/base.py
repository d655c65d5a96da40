"""Interface of tasks, and the arrays of an encoded data set."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import xxhash

from mpjax.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    Tokenizer = PreTrainedTokenizerBase

Head = Literal["classification", "regression", "tokens", "qa", "mlm"]
Data = str | Path | None
Row = dict[str, Any]

OWN = ("classification", "regression", "tokens", "qa")  # tasks on own data
SPLITS = ("train", "dev")
IGNORE = -100  # label left out of the loss
TEACHER_LOGITS = "teacher_logits"  # of distillation
_BLOCK = 8192  # rows hashed at once
ROW = "row"  # key of `Encoded.extra`: index of the row that was read, where a row is split


@dataclass(frozen=True)
class Encoded:
    """Data set as arrays of n rows, padded on the right to one width L.

    `arrays` holds ``input_ids``, ``attention_mask``, ``token_type_ids`` int32 (n, L), and labels by
    head:

    * classification: ``labels`` int32 (n,);  regression: ``labels`` float32 (n,)
    * qa: ``start_positions``, ``end_positions`` int32 (n,)
    * tokens: ``labels`` int32 (n, L), the class of a word at its first token, -100 elsewhere
    * mlm: ``labels`` int32 (n, L), -100 at tokens that are not predicted

    Distillation adds ``teacher_logits`` float32, (n, classes), (n, L, classes) or (n, L, 2).

    For ``qa`` an encoded row is a window of a passage, so n can exceed the number of rows read;
    ``extra["row"]`` says of which row.

    Arrays of the cache are read-only maps of a file, with ids, masks and token types in smaller
    unsigned integers; batches of them are int32 all the same.
    """

    arrays: dict[str, np.ndarray]
    lengths: np.ndarray  # int32 (n,), tokens without padding
    extra: dict[str, np.ndarray] = field(default_factory=dict)  # for scoring; not fed to the model

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Padded length L."""
        return self.arrays["input_ids"].shape[1]

    @cached_property
    def digest(self) -> str:
        """Hash of the rows as batches take them, 32 hex digits: from memory as from the cache.

        Without logits of a teacher, which are computed.
        """
        state = xxhash.xxh3_128()
        for name, given in sorted({**self.arrays, "lengths": self.lengths}.items()):
            if name == TEACHER_LOGITS:
                continue
            array = np.asarray(given)
            if array.dtype.hasobject:
                raise InputError(f"the encoded rows have objects in {name}; encode them as numbers")
            state.update(f"{name} {array.shape}".encode())
            kind = np.int32 if array.dtype.kind == "u" else array.dtype
            for begin in range(0, len(array), _BLOCK):
                state.update(array[begin : begin + _BLOCK].astype(kind, copy=False).tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class DataOptions:
    """Options about own data; see the options of `TrainConfig`.

    Attributes:
      text, label: names of columns, None = the obvious ones.
      dev_share: share of a file without dev rows that goes to dev; None = such a file is all dev.
      split_seed: of that split.
      metric: primary score, None = the task's.
      labels: classes in the order of a model's logits, None = found in the rows.
      unanswerable: whether a model learned that questions may have no answer, None = found.
    """

    text: str | None = None
    label: str | None = None
    dev_share: float | None = None
    split_seed: int = 0
    metric: str | None = None
    labels: tuple[str, ...] | None = None
    unanswerable: bool | None = None


@dataclass(frozen=True)
class Task(abc.ABC):
    """One task. Settings are fields: ``dataclasses.replace`` makes a variant."""

    name: str
    head: Head
    labels: tuple[str, ...] = ()  # class names in the order of the logits
    metric: str = "accuracy"  # key of the primary score; higher is better
    # Words for the classes, if `--label-words` is auto. Not in repr, of which cache keys are made.
    label_words: tuple[str, ...] = field(default=(), repr=False)

    # Whether `encode` encodes each row by itself, whatever rows come with it, apart from their
    # index in ``extra["row"]``. Such rows are encoded in parts, others all at once.
    rowwise: ClassVar[bool] = False

    @property
    def num_labels(self) -> int:
        """Outputs of the head, namely classes, 1 (regression), 2 (start, end of qa) or 0 (mlm)."""
        return {"regression": 1, "qa": 2, "mlm": 0}.get(self.head, len(self.labels))

    def fit(self, data: Data, options: DataOptions) -> Task:
        """Task with the columns and labels of the data; itself where they are fixed.

        Raises:
          InputError: an option that is for own data, or as `read`.
        """
        for name in ("text", "label", "metric"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name} is for own data (--task {', '.join(OWN)}); {self.name} has columns "
                    "and metrics of its own, leave it out"
                )
        return self

    @property
    def fitted(self) -> dict[str, Any]:
        """Columns and labels that `fit` found, as JSON values for the record of a run."""
        return {}

    @abc.abstractmethod
    def read(self, data: Data, split: str) -> list[Row]:
        """Rows of a split of a folder, a file, or the hub.

        Args:
          data: folder or file; None or ``"hub"`` for the Hugging Face hub.
          split: ``train`` or ``dev``.

        Raises:
          InputError: a wrong file; the message names the file and the line or record.
        """

    @abc.abstractmethod
    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        """Encodes rows to width `max_length`; longer texts are truncated (qa: split in windows)."""

    def note(self, rows: Sequence[Row], encoded: Encoded) -> None:
        """Says what was lost in the encoding of all rows, if anything."""
        return

    @abc.abstractmethod
    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        """Scores in percent, the primary one (`metric`) first.

        Args:
          rows: as read.
          encoded: of these rows.
          logits: float (n, classes), (n, 1) for regression, (n, L, classes) for tokens, (n, L, 2)
            for qa, (n, L, vocabulary) for mlm, in the order of `encoded`. Positions past a row's
            length are ignored.
        """


@dataclass(frozen=True)
class PredictingTask(Task):
    """Task with prediction files, which can be scored without a model.

    Predictions are values by id: the id of a question, or a row index from 0.
    """

    prediction_files: tuple[str, ...] = (".tsv", ".jsonl")  # suffixes

    @abc.abstractmethod
    def ids(self, rows: Sequence[Row]) -> list[Any]:
        """Ids of the rows, in order."""

    @abc.abstractmethod
    def read_predictions(self, path: Path) -> dict[Any, Any]:
        """Predictions of a file by id.

        Raises:
          InputError: a wrong file; the message names the file and the record.
        """

    @abc.abstractmethod
    def write_predictions(
        self, path: Path, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray
    ) -> dict[Any, Any]:
        """Writes the predictions of logits (shapes as in `score`), and returns them by id."""

    @abc.abstractmethod
    def score_predictions(
        self, rows: Sequence[Row], predictions: Mapping[Any, Any]
    ) -> dict[str, float]:
        """Scores in percent, the primary one first, of predictions for every row."""

    def scores_beside(self, path: Path, rows: Sequence[Row]) -> dict[str, float]:
        """Scores that need the files which `write_predictions` puts beside `path`; {} without."""
        return {}


def check_split(split: str) -> None:
    """Raises `InputError` unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
