"""Laws for any input, by hypothesis: what is coded comes back, what is damaged is refused."""

import json
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mpjax.errors import InputError
from mpjax.files import parse_json
from mpjax.models import BertConfig
from mpjax.models.packed.coding import decode_array, encode_array
from mpjax.tasks.glue.files import read_predictions
from mpjax.tasks.reading import read_json_lines, read_tsv
from mpjax.tasks.squad.files import read_questions

# The same examples in every run, few of them, and no folder of examples beside the tests.
few = settings(max_examples=60, derandomize=True, deadline=None, database=None)
WIDTHS = {"float32": "u4", "float16": "u2", "bfloat16": "u2"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def instead(inner):
    """Now and then any JSON in place of what belongs there."""
    return st.one_of(inner, inner, inner, JSON)


ANSWER = st.fixed_dictionaries({"text": st.just("cat"), "answer_start": instead(st.just(4))})
QUESTION = st.fixed_dictionaries(
    {"id": st.text(max_size=2), "question": instead(st.just("who")),
     "answers": instead(st.lists(instead(ANSWER), max_size=2))}
)  # fmt: skip
PARAGRAPH = st.fixed_dictionaries(
    {"context": st.just("the cat"), "qas": instead(st.lists(QUESTION, min_size=1, max_size=2))}
)
ARTICLE = st.fixed_dictionaries({"paragraphs": instead(st.lists(PARAGRAPH, max_size=2))})
SQUAD = st.fixed_dictionaries({"data": instead(st.lists(instead(ARTICLE), min_size=1, max_size=2))})


@st.composite
def stored(draw) -> np.ndarray:
    """Any bits, half of them zeros of either sign, as an array of one of the stored types."""
    name = draw(st.sampled_from(sorted(WIDTHS)))
    width = 8 * np.dtype(WIDTHS[name]).itemsize
    zeros = st.sampled_from([0, 1 << (width - 1)])
    bits = st.integers(0, 2**width - 1) | zeros
    made = draw(
        arrays(WIDTHS[name], array_shapes(min_dims=0, min_side=0, max_side=9), elements=bits)
    )
    return made.view(getattr(ml_dtypes, name) if name == "bfloat16" else name)


@few
@given(stored())
def test_a_packed_array_comes_back_bit_for_bit(array):
    restored = decode_array(encode_array(array))
    assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    assert restored.tobytes() == array.tobytes()


@few
@given(JSON)
def test_json_of_ours_is_read_as_written(value):
    assert parse_json(Path("x.json"), json.dumps(value).encode()) == value


@few
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5))
def test_json_lines_of_ours_are_read_as_written(records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    found = _read(text.encode(), lambda path: list(read_json_lines(path)))
    assert found == list(enumerate(records, start=1))


def _read(content: bytes, reader, name: str = "x.json"):
    """Result of a reader of a file of this content, or None for a refusal that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return reader(path)
        except InputError as error:
            assert str(path) in str(error)
            return None


@few
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize(
    "reader, name",
    [
        (lambda path: parse_json(path, path.read_bytes()), "x.json"),
        (lambda path: list(read_json_lines(path)), "x.jsonl"),
        (lambda path: list(read_tsv(path)), "x.tsv"),
        (lambda path: list(read_predictions(path)), "x.tsv"),
        (lambda path: list(read_predictions(path)), "x.jsonl"),
        (lambda path: read_questions(path, may_be_empty=True), "x.json"),
    ],
    ids=["json", "lines", "tsv", "predictions.tsv", "predictions.jsonl", "squad"],
)
def test_any_bytes_are_read_or_refused(reader, name, content):
    _read(content, reader, name)


@few
@given(SQUAD)
def test_documents_that_look_like_squad_are_read_or_refused(document):
    def questions(path):
        return read_questions(path, may_be_empty=True)

    _read(json.dumps(document).encode(), questions)


@few
@given(st.dictionaries(st.sampled_from(sorted(BertConfig().to_dict())), JSON, max_size=4))
def test_any_config_is_read_or_refused(changes):
    try:
        config = BertConfig.from_dict({**BertConfig().to_dict(), **changes})
    except InputError:
        return
    assert BertConfig.from_dict(config.to_dict()) == config
