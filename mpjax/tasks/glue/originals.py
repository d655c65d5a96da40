"""Files of the data sets that GLUE is made of, under the names of their authors."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.reading import numbered_lines

Record = tuple[int, dict[str, Any]]  # line number, cells by column

_NLI = {
    ("train", ""): ("multinli_1.0_train", "snli_1.0_train"),
    ("dev", "matched"): ("multinli_1.0_dev_matched", "snli_1.0_dev"),
    ("dev", "mismatched"): ("multinli_1.0_dev_mismatched",),
}
_QUESTIONS = ("quora_duplicate_questions.tsv", "questions.csv")
_PAIRS, _PAIRS_TEST = "msr_paraphrase_train.txt", "msr_paraphrase_test.txt"
_DEV_IDS = "dev_ids.tsv"
# Task -> (split, part) -> file names, by preference.
_NAMES: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {
    "cola": {("train", ""): ("in_domain_train.tsv",), ("dev", ""): ("in_domain_dev.tsv",)},
    "mnli": {
        key: tuple(f"{stem}.{kind}" for stem in stems for kind in ("jsonl", "txt"))
        for key, stems in _NLI.items()
    },
    "mrpc": {
        ("train", ""): (_PAIRS,),
        ("dev", ""): (_PAIRS_TEST,),
    },
    "qqp": {("train", ""): _QUESTIONS, ("dev", ""): _QUESTIONS},
    "rte": {("dev", ""): ("val.jsonl",)},
    "sst2": {("train", ""): ("train.txt",), ("dev", ""): ("dev.txt",)},
    "stsb": {("train", ""): ("sts-train.csv",), ("dev", ""): ("sts-dev.csv",)},
}
_FOLDERS = {
    "cola": ("raw", "cola_public/raw"),
    "mnli": ("multinli_1.0", "snli_1.0"),
    "qnli": ("QNLIv2",),
    "sst2": ("trees",),
    "stsb": ("stsbenchmark",),
}
# The rest of a split, beside its file.
_SECOND = {"in_domain_dev.tsv": "out_of_domain_dev.tsv"}
_STS = ("genre", "file", "year", "id", "score", "sentence1", "sentence2")
_SHARE = 10  # one pair of questions in so many is for the dev set, as in GLUE
_NOT_LABELS = ("", "-", "-1", "-1.0", "None")


def names_of(task: str, split: str, part: str) -> tuple[str, ...]:
    """File names of a split, () if GLUE's are the only ones."""
    return _NAMES.get(task, {}).get((split, part), ())


def folders_of(task: str) -> tuple[str, ...]:
    """Folders within the authors' archives."""
    return _FOLDERS.get(task, ())


def files_of(path: Path) -> list[Path]:
    """Files that hold a split, of which the first was found."""
    if path.name == _PAIRS_TEST and os.path.isfile(path.with_name(_DEV_IDS)):
        return [path.with_name(_PAIRS)]
    second = path.with_name(_SECOND.get(path.name, path.name))
    return [path, second] if second != path and os.path.isfile(second) else [path]


def read_original(path: Path) -> Iterator[Record] | None:
    """Records of a file in a form of its authors' own; None for a usual table or JSON lines."""
    if path.name.startswith("sts-"):
        return _similarities(path)
    if path.suffix == ".txt" and path.name in ("train.txt", "dev.txt"):
        return _trees(path)
    return None


def is_unlabelled(value: object) -> bool:
    """Whether a label says that there is none: the mark of MNLI's authors, or of the hub."""
    return str(value).strip() in _NOT_LABELS and not isinstance(value, bool)


def own_share(path: Path, split: str, records: Iterable[Record]) -> Iterable[Record]:
    """Records of a split where a file holds more than one: questions of QQP, pairs of MRPC.

    QQP's authors have no dev set; a tenth of the pairs, drawn from seed 0, is it, and this is said.
    MRPC's is listed in GLUE's ``dev_ids.tsv``; without that file it is the authors' test set.
    """
    listed = path.with_name(_DEV_IDS)
    if path.name == _PAIRS and os.path.isfile(listed):
        ids = {tuple(line.split("\t")) for _, line in numbered_lines(listed)}
        return [r for r in records if ((r[1]["#1 ID"], r[1]["#2 ID"]) in ids) == (split == "dev")]
    if path.name not in _QUESTIONS:
        return records
    rows = list(records)
    chosen = set(random.Random(0).sample(range(len(rows)), len(rows) // _SHARE))
    found = [row for i, row in enumerate(rows) if (i in chosen) == (split == "dev")]
    log.info("%s has no splits: %d of its %d rows are taken for %s",
             path, len(found), len(rows), split)  # fmt: skip
    return found


def _similarities(path: Path) -> Iterator[Record]:
    """Lines without a header, the sources of the sentences at the end of some."""
    for number, line in numbered_lines(path):
        cells = line.split("\t")
        if len(cells) < len(_STS):
            raise InputError(
                f"{path} line {number}: expected {len(_STS)} tab-separated columns "
                f"({', '.join(_STS)}), found {len(cells)}"
            )
        yield number, dict(zip(_STS, cells, strict=False))


def _trees(path: Path) -> Iterator[Record]:
    """Sentences of sentiment trees, ``(3 (2 A) (4 joy))``; neutral ones have no label."""
    for number, line in numbered_lines(path):
        found = re.match(r"\s*\(([0-4]) ", line)
        if found is None:
            raise InputError(
                f"{path} line {number}: expected a tree such as (3 (2 A) (4 joy)), found "
                f"{shown(repr(line), 40)}"
            )
        words = re.findall(r"\([0-4] ([^()\s]+)\)", line)
        text = " ".join(words).replace("-LRB-", "(").replace("-RRB-", ")")
        grade = int(found[1])
        yield number, {"sentence": text, "label": "-" if grade == 2 else int(grade > 2)}
