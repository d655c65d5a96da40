"""Messages stay one short line, whatever they quote."""

import errno
import io
import sys

import pytest

from mpjax import cli
from mpjax.cli import recipes
from mpjax.config.recorded import differences
from mpjax.errors import InputError, plain

STRANGE = ["a\0b", "a\u2028b", "a\rb", "\ufeffa", "a\nb", "a\x1b[31mb", "\udcff", "x" * 70_000,
           "\0" * 400]  # fmt: skip


@pytest.mark.parametrize("text", [*STRANGE, "x " * 70_000], ids=ascii)
def test_a_message_is_one_short_printable_line(text):
    said = str(InputError(f"--output {text} is odd; give another"))
    assert said.isprintable() and len(said) < 2_100
    assert said.startswith("--output ") and said.endswith("; give another")
    assert plain(said) == said


def test_a_plain_message_stays_as_it_is():
    said = r"C:\new is no größe of 'λ' — nor a path " + "a/" * 140
    assert str(InputError(said)) == said


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_words_of_the_command_line_are_quoted_plainly(text, capsys):
    for words in (["train", f"--{text}"], ["plan", "--devices", text], ["recipes", text], [text],
                  ["train", "--task", text], ["train", "--threshold", text]):  # fmt: skip
        assert cli.main(words) == 2
        said = capsys.readouterr().err.removesuffix("\n")
        assert said.isprintable() and len(said) < 1_000, words[:2]


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", "λ \\udcff"), ("ascii", r"\u03bb \udcff")]
)
def test_results_that_stdout_cannot_encode_are_escaped(encoding, said, monkeypatch):
    monkeypatch.setattr(recipes, "run", lambda args: print("λ \udcff"))
    stdout = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["recipes"]) == 0
    assert stdout.buffer.getvalue().decode(encoding) == said + "\n"


def test_a_recorded_value_is_quoted_plainly():
    (said,) = differences({"data": "a"}, {"data": "x " * 35_000})
    assert said.startswith("--data was x x") and len(said) < 300


def test_a_file_that_the_disk_refuses_is_named_plainly(monkeypatch, capsys):
    def run(args):
        raise OSError(errno.EIO, "Input/output error", "a\x1b[31m\nb")

    monkeypatch.setattr(recipes, "run", run)
    assert cli.main(["recipes"]) == 2
    assert capsys.readouterr().err == (
        "mpjax: error: a\\x1b[31m\\nb cannot be used: the disk reports an error; check the disk\n"
    )
