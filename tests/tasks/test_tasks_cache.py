"""Disk cache of encoded data sets."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import xxhash
from disks import fill, make_read_only, small_disk, tree
from safetensors.numpy import save

from mpjax import tasks
from mpjax.arrays import keep, kept
from mpjax.errors import InputError
from mpjax.models import load_tokenizer
from mpjax.tasks import cache, demo
from mpjax.tasks.base import Encoded
from mpjax.tasks.batches import Batches, eval_batches


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


@pytest.mark.parametrize("name", ["demo_sentiment", "demo_questions", "demo_mlm", "tokens"])
def test_parts_make_the_batches_of_the_whole(
    name: str, tmp_path: Path, demo_tokenizer, monkeypatch
) -> None:
    task = tasks.get(name)
    if name == "tokens":
        rows = [{"words": ["mira", "sings", "to", "tom"][: 1 + i % 4]} for i in range(20)]
        rows = [{**row, "label": [i % 3 for i in range(len(row["words"]))]} for row in rows]
    else:
        rows = task.read(None, "dev")[:20]
    width = 24 if name == "demo_questions" else 16
    if name == "demo_questions":
        task = dataclasses.replace(task, doc_stride=4)  # pyright: ignore[reportCallIssue]
    whole = task.encode(rows, demo_tokenizer, width)
    assert (len(whole) > len(rows)) == (name == "demo_questions")  # several windows a question
    monkeypatch.setattr(cache, "PART", 7)
    parts = cache.encode(task, rows, demo_tokenizer, width, tmp_path)
    assert parts.digest == whole.digest
    logits = {"teacher_logits": np.ones((len(whole), 2), np.float32)}
    assert dataclasses.replace(whole, arrays=whole.arrays | logits).digest == whole.digest
    assert not parts.lengths.flags.owndata and not parts.lengths.flags.writeable  # it is mapped
    assert parts.arrays["input_ids"].dtype == np.uint16
    assert list(whole.arrays) == list(parts.arrays) and list(whole.extra) == list(parts.extra)
    for key, array in {**whole.arrays, **whole.extra}.items():
        np.testing.assert_array_equal({**parts.arrays, **parts.extra}[key], array)
    for step in range(9):
        expected = Batches(whole, 4, seed=1).batch(step)
        batch = Batches(parts, 4, seed=1).batch(step)
        for key, array in expected.items():
            np.testing.assert_array_equal(batch[key], array)
            assert batch[key].dtype == array.dtype == np.int32
    for (expected, _), (batch, _) in zip(
        eval_batches(whole, 8), eval_batches(parts, 8), strict=True
    ):
        assert {key: a.dtype for key, a in batch.items()} == dict.fromkeys(expected, np.int32)
        assert all((batch[key] == expected[key]).all() for key in expected)


def test_rows_of_many_parts_are_encoded_a_part_at_a_time(
    tmp_path: Path, demo_tokenizer, monkeypatch
) -> None:
    monkeypatch.setattr(cache, "PART", 7)
    task = Counted("demo_sentiment")
    rows = task.read(None, "dev")[:20]
    for times in (3, 3):
        cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
        assert task.times == times
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]  # no parts are left


def test_words_that_are_cut_are_said_once_for_all_rows_and_from_the_cache_too(
    tmp_path: Path, demo_tokenizer, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(cache, "PART", 7)
    rows = [{"words": ["mira", "sings", "to", "tom"], "label": [0, 1, 2, 0]}] * 20
    for times in (1, 2):
        cache.encode(tasks.get("tokens"), rows, demo_tokenizer, 4, tmp_path)
        assert caplog.text.count("40 of 80 words have no token") == caplog.text.count("no token")
        assert caplog.text.count("no token") == times


def test_ids_beyond_16_bits_are_kept_whole(tmp_path: Path) -> None:
    class Large:
        """Stand-in for a tokenizer of 70,000 tokens."""

        def get_vocab(self) -> dict[str, int]:
            return {"last": 70_000}

    ids = np.array([[70_000, 65_536]], np.int32)
    encoded = Encoded({"input_ids": ids}, np.array([2], np.int32))

    class Fixed(Counted):
        def encode(self, *args) -> Encoded:
            return encoded

    task = Fixed("demo_sentiment")
    [part] = cache._parts(task, [{}], Large(), 2)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(part["a/input_ids"], ids)


def test_an_entry_of_the_form_before_is_read(tmp_path: Path, demo_tokenizer) -> None:
    task = Counted("demo_sentiment")
    rows = task.read(None, "dev")[:20]
    cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    [path] = tmp_path.iterdir()
    encoded = task.task.encode(rows, demo_tokenizer, 16)
    content = {f"a/{name}": array for name, array in encoded.arrays.items()}
    content = {"lengths": encoded.lengths, **content}
    state = xxhash.xxh3_128()
    for name, array in content.items():
        state.update(repr((name, array.dtype.str, array.shape)).encode())
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    record = {"digest and names": json.dumps([state.hexdigest(), *content])}
    replace(path, save(content, record))
    found = cache.encode(task, rows, demo_tokenizer, 16, tmp_path)  # pyright: ignore[reportArgumentType]
    assert task.times == 1 and found.arrays["input_ids"].dtype == np.int32
    for name, array in encoded.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_a_mistake_in_the_data_is_no_fault_of_the_disk(
    tmp_path: Path, demo_tokenizer, caplog
) -> None:
    task = tasks.get("demo_sentiment")
    with pytest.raises(InputError, match="max-length 2 leaves no room"):
        cache.encode(task, task.read(None, "dev")[:3], demo_tokenizer, 2, tmp_path)
    assert caplog.text == "" and list(tmp_path.iterdir()) == []


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


def replace(path: Path, content: bytes) -> None:
    """Puts another file in the place of one that is mapped: to cut that one would kill us."""
    path.unlink()
    path.write_bytes(content)


def cut(path: Path) -> None:
    replace(path, path.read_bytes()[:200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    replace(path, bytes(content))


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


def test_texts_lose_their_end_whatever_the_folder_says(tmp_path: Path) -> None:
    for side in ("left", "right"):
        folder = tiny.model(tmp_path / side)
        settings = folder / "tokenizer_config.json"
        settings.write_text(
            json.dumps(json.loads(settings.read_text()) | {"truncation_side": side})
        )
    ids = [
        load_tokenizer(tmp_path / side)("the cat sat on the mat", truncation=True, max_length=4)
        for side in ("left", "right")
    ]
    assert ids[0]["input_ids"] == ids[1]["input_ids"]
