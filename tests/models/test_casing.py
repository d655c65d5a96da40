"""Vocabularies and tokenizers that disagree about capitals, and text that a tokenizer lacks."""

import json
import logging

import pytest

from mpjax import models, tasks
from mpjax.models.hf.casing import capitalised
from mpjax.tasks.unknown import check_known, unknown_share

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CASED = [*SPECIAL, "The", "Paris", "the", "cat", "sat", "##s"]
LOWER = [*SPECIAL, "the", "cat", "sat", "paris", "##s"]


def folder_of(root, vocabulary, **settings):
    (root / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (root / "config.json").write_text('{"model_type": "bert"}')
    if settings:
        (root / "tokenizer_config.json").write_text(json.dumps(settings))
    return root


@pytest.mark.parametrize(
    ("vocabulary", "settings", "tokens", "says"),
    [
        (CASED, {}, ["The", "cat"], "so text keeps its capitals"),
        (CASED, {"tokenizer_class": "BertTokenizer"}, ["The", "cat"], "keeps its capitals"),
        (CASED, {"do_lower_case": False}, ["The", "cat"], ""),
        (CASED, {"do_lower_case": True}, ["the", "cat"], "so 2 of 6 tokens are never given (Paris"),
        (LOWER, {}, ["the", "cat"], ""),
        (LOWER, {"do_lower_case": True}, ["the", "cat"], ""),
        (LOWER, {"do_lower_case": False}, ["[UNK]", "cat"], "words with capitals become unknown"),
    ],
)
def test_capitals_stay_where_the_vocabulary_has_them(
    vocabulary, settings, tokens, says, tmp_path, caplog
):
    folder = folder_of(tmp_path, vocabulary, **settings)
    with caplog.at_level(logging.WARNING, "mpjax"):
        tokenizer = models.load_tokenizer(folder)
    assert tokenizer.tokenize("The cat") == tokens
    assert (says in caplog.text) if says else caplog.text == ""
    if settings or says:
        assert caplog.text.count("\n") <= 1


def test_special_tokens_and_signs_have_no_capitals():
    assert capitalised([*SPECIAL, "[unused1]", "<S>", "42", "##ED", "a"]) == (["##ED"], 2)


def test_rows_of_unknown_words_are_warned_about(tmp_path, caplog):
    tokenizer = models.load_tokenizer(folder_of(tmp_path, LOWER))
    task = tasks.get("sst2")

    def check(*texts):
        caplog.clear()
        rows = [{"sentence": text, "label": 0} for text in texts]
        encoded = task.encode(rows, tokenizer, 24)
        with caplog.at_level(logging.WARNING, "mpjax"):
            check_known(encoded, tokenizer, "training rows")
        return unknown_share(encoded, tokenizer)

    assert check("the cat sat", "the zebra slept") == 2 / 6
    assert "33.3% of the tokens of the first 2 training rows are [UNK]" in caplog.text
    assert check("the cat " * 10, "zebra") == 1 / 21 and caplog.text == ""
    assert check(*["the cat"] * 1000, *["zebra"] * 1000) == 0.0  # the first 1,000 only
