"""Disk cache of encoded data sets."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mpjax import tasks
from mpjax.tasks import cache, demo
from mpjax.tasks.base import Encoded


@pytest.fixture(scope="module")
def demo_tokenizer():
    return demo.tokenizer()


class Counted:
    """Task that counts its calls of `encode`."""

    def __init__(self, name: str) -> None:
        self.task, self.times = tasks.get(name), 0

    def __getattr__(self, name: str):
        return getattr(self.task, name)

    def __repr__(self) -> str:
        return repr(self.task)

    def encode(self, *args) -> Encoded:
        self.times += 1
        return self.task.encode(*args)


@pytest.mark.parametrize("name", ["demo_sentiment", "demo_questions", "demo_mlm"])
def test_the_second_time_is_read_and_equal(name: str, tmp_path: Path, demo_tokenizer) -> None:
    task = Counted(name)
    rows = task.read(None, "dev")[:20]
    first = cache.encode(task, rows, demo_tokenizer, 48, tmp_path / "kept")  # pyright: ignore[reportArgumentType]
    again = cache.encode(task, rows, demo_tokenizer, 48, tmp_path / "kept")  # pyright: ignore[reportArgumentType]
    assert task.times == 1
    for one, other in ((first.arrays, again.arrays), (first.extra, again.extra)):
        assert list(one) == list(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
            assert one[key].dtype == other[key].dtype
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".npz"]


def test_without_a_folder_nothing_is_kept(tmp_path: Path, demo_tokenizer, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = tasks.get("demo_sentiment")
    cache.encode(task, task.read(None, "dev")[:3], demo_tokenizer, 16)
    assert list(tmp_path.iterdir()) == []


def test_the_key_hangs_on_all_that_goes_in(demo_tokenizer) -> None:
    task = tasks.get("demo_questions")
    rows = task.read(None, "dev")[:5]
    other = demo.tokenizer()
    other.add_tokens(["zzz"])
    keys = [
        cache.key(task, rows, demo_tokenizer, 48),
        cache.key(task, rows[:4], demo_tokenizer, 48),
        cache.key(task, rows[::-1], demo_tokenizer, 48),
        cache.key(task, [{**rows[0], "question": "?"}, *rows[1:]], demo_tokenizer, 48),
        cache.key(task, rows, demo_tokenizer, 64),
        cache.key(task, rows, other, 48),
        cache.key(dataclasses.replace(task, doc_stride=16), rows, demo_tokenizer, 48),  # pyright: ignore[reportCallIssue]
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_forgets_how_the_tokenizer_was_last_used(demo_tokenizer) -> None:
    task = tasks.get("demo_sentiment")
    rows = task.read(None, "dev")[:5]
    before = cache.key(task, rows, demo_tokenizer, 16)
    demo_tokenizer("mira", truncation=True, max_length=7, padding="max_length")
    assert cache.key(task, rows, demo_tokenizer, 16) == before
    assert cache.key(task, rows, demo.tokenizer(), 16) == before


def test_a_file_cut_short_is_made_anew(tmp_path: Path, demo_tokenizer) -> None:
    task = Counted("demo_sentiment")
    rows = task.read(None, "dev")[:20]
    first = cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:200])
    again = cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    assert task.times == 2
    np.testing.assert_array_equal(first.arrays["input_ids"], again.arrays["input_ids"])
    cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    assert task.times == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, demo_tokenizer, monkeypatch) -> None:
    def fail(file, **arrays) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    task = tasks.get("demo_sentiment")
    with pytest.raises(OSError, match="disk full"):
        cache.encode(task, task.read(None, "dev")[:3], demo_tokenizer, 16, tmp_path)
    assert list(tmp_path.iterdir()) == []
