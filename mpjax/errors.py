"""Exceptions with a meaning for the command line."""

import re

# Characters; every word of ours and almost every path is shorter.
_LONGEST_WORD, _LONGEST = 300, 2_000


class InputError(ValueError):
    """A mistake in something the user gave: an option, a file, a folder, a record.

    The message names the option or file, what was found, and what to do about it. The command
    line prints it after ``mpjax: error:`` and exits with status 2, without a traceback. It is made
    plain first (`plain`): it may quote a file of a stranger, or a word of the command line.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(str(message)))


class Interrupted(KeyboardInterrupt):
    """A run stopped by a signal, its state saved.

    Attributes:
      signal: number of the signal.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


def plain(message: str) -> str:
    r"""One printable line: what a terminal cannot show is escaped, what is endless is cut.

    >>> print(plain("no column a\0b\u2028c"))
    no column a\x00b\u2028c
    """
    words = re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", lambda word: cut(word[0]), escaped(message))
    return cut(words, _LONGEST)


def escaped(text: str) -> str:
    """Text with an escape for every character that a terminal cannot show."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, most: int = 200) -> str:
    """Text without its middle where it is long.

    >>> cut("a" * 1000, 9)
    'aaa...aaa'
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
