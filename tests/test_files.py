"""JSON of strangers: one sentence that names file and line, whatever the bytes are."""

import random
import time
from pathlib import Path

import pytest

from mpjax.errors import InputError
from mpjax.files import MOST_DEPTH, parse_json, read_bytes, read_json, shown

PATH = Path("some.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a":\n\xff}', "line 2: not UTF-8"),
        (b'{"a":\n}', "line 2: not JSON"),
        (b"", "line 1: not JSON"),
        (b'["' + b"9" * 4400 + b'", ' + b"9" * 4400 + b"]", "number of 4400 digits"),
        (b"[" * 100_000 + b"]" * 100_000, "more than 100 deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "more than 100 deep"),
        (b'{"a": 1,\n"a": 2}', "'a' is in one object twice"),
        (rb'["\\", "\ud83d\ude00",' + b"\n" + rb'"\ud83d"]', r"line 2: \\ud83d is half"),
        (rb'{"\uDE00": 1}', "half of a character"),
        (rb'["\ud83d\u0041"]', "half of a character"),
    ],
)
def test_bad_json_is_refused_with_a_reason(content, said):
    begun = time.monotonic()
    with pytest.raises(InputError, match=f"^some.json.*{said}") as caught:
        parse_json(PATH, content)
    assert len(str(caught.value)) < 250
    assert time.monotonic() - begun < 1


def test_good_json_stays_as_it_is():
    text = rb'{"a": [1, -2.5e3, true, null, "\ud83d\ude00 \\ud83d"], "b": {"a": {}}}'
    assert parse_json(PATH, text) == {
        "a": [1, -2500.0, True, None, "\U0001f600 \\ud83d"],
        "b": {"a": {}},
    }
    deep = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    assert parse_json(PATH, deep)


@pytest.mark.parametrize("name", ["missing.json", "a" * 5000, "nul\0"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_json(tmp_path / name)
    assert len(str(caught.value)) < 300


def test_a_document_that_does_not_fit_into_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    monkeypatch.setattr("mpjax.files.available", lambda: 2 << 30)
    with pytest.raises(InputError, match=r"large.json: reading it takes about 6.4 GB of memory"):
        read_json(path)
    assert read_bytes(path, most=10) == bytes(10)  # of which none is read but the beginning
    monkeypatch.setattr("mpjax.files.available", lambda: None)  # unknown: it is tried
    assert len(read_bytes(path, most=1 << 20)) == 1 << 20


def test_long_values_are_cut():
    assert shown("b" * 1000, 9) == "bbb...bbb"
    assert shown(12) == "12"
    assert shown("\0" * 1000, 19) == r"\x00\x00...\x00\x00"
    assert [shown(text) for text in ("", " ", "\t", " a")] == ["''", "' '", r"'\t'", " a"]


def test_no_mutation_of_json_gives_a_traceback():
    dice = random.Random(0)
    seed = rb'{"data": [{"title": "a\u00e9\ud83d\ude00", "n": [1, 2.5, -3e2, null, true]}]}'
    pieces = [b"\\ud800", b"[" * 2000, b"9" * 5000, b"\x00", b"NaN", b"1e999", b'"', b"{", b"}"]
    for _ in range(1000):
        content = bytearray(seed)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(content))
            content[at : at + dice.randint(0, 2)] = (
                dice.choice(pieces) if dice.random() < 0.5 else dice.randbytes(1)
            )
        try:
            parse_json(PATH, bytes(content))
        except InputError as error:
            assert str(PATH) in str(error)
