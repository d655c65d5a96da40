"""Disk cache of encoded data sets."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from disks import fill, make_read_only, small_disk, tree

from mpjax import tasks
from mpjax.arrays import keep, kept
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
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".safetensors"]


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


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))


def reshape(path: Path) -> None:
    """With a digest that is right, as another program would have written it."""
    arrays = kept(path)
    assert arrays is not None
    keep(path, {**arrays, "a/labels": arrays["a/labels"][:-1]})


def rename(path: Path) -> None:
    arrays = kept(path)
    assert arrays is not None
    arrays["a/other"] = arrays.pop("a/input_ids")
    keep(path, arrays)


@pytest.mark.parametrize("damage", [cut, flip, reshape, rename])
def test_a_damaged_file_is_said_and_made_anew(
    damage, tmp_path: Path, demo_tokenizer, caplog
) -> None:
    task = Counted("demo_sentiment")
    rows = task.read(None, "dev")[:20]
    first = cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    path = next(tmp_path.iterdir())
    damage(path)
    again = cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    assert task.times == 2
    assert f"{path} is damaged and is made again: " in caplog.text
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
    cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    assert task.times == 2


def test_a_full_or_read_only_cache_is_said_once_and_not_needed(
    tmp_path: Path, demo_tokenizer, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("mpjax.log._said", set())
    task = tasks.get("demo_sentiment")
    rows = task.read(None, "dev")[:20]
    with small_disk(tmp_path / "disk", "64k") as disk:
        fill(disk)
        before = tree(disk)
        for length in (16, 32):
            encoded = cache.encode(task, rows, demo_tokenizer, length, disk)
            assert len(encoded) == 20
        assert tree(disk) == before
        make_read_only(disk)
        cache.encode(task, rows, demo_tokenizer, 16, disk)
    assert caplog.text.count("going on without the cache: ") == 1
    assert "cannot be written: the disk is full" in caplog.text
