"""The last line of a card of ours: a digest, so that a card somebody has edited is told from it."""

from __future__ import annotations

import re
import shlex

import xxhash

CARD = "README.md"
PLACE = "OWNER/NAME"  # stands in a card for the repository until it is pushed to one
_MARK = re.compile(r"\n<!-- mpjax card ([0-9a-f]{16}): [^\n]*-->\n\Z")


def signed(text: str) -> bytes:
    """Card with the mark of its content at the end.

    >>> is_ours(signed("# A model"))
    True
    """
    text = text.rstrip("\n") + "\n"
    note = "this line tells a card as mpjax wrote it from one that was edited, which is kept"
    return f"{text}\n<!-- mpjax card {_digest(text)}: {note} -->\n".encode()


def is_ours(card: bytes) -> bool:
    """Whether a card is as mpjax wrote it: neither of another author nor edited since.

    >>> is_ours(signed("# A model").replace(b"A model", b"My model"))
    False
    """
    text = card.decode("utf-8", errors="replace")
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def addressed(card: bytes, repository: str, packed: str | None = None) -> bytes:
    """Card whose examples name a repository; one of another author stays as it is.

    Args:
      packed: name of the packed model that the repository holds instead of a folder.
    """
    if not is_ours(card):
        return card
    text = _MARK.sub("", card.decode())
    if packed is not None:
        how = (
            f"This repository holds a packed model, which only mpjax reads. A folder for the "
            f"examples below:\n\n```\nhf download {PLACE} {shlex.quote(packed)} --local-dir .\n"
            f"mpjax unpack {shlex.quote(packed)} --output {PLACE}\n```"
        )
        text = text.replace("library_name: transformers\n", "library_name: mpjax\n", 1)
        text = text.replace("## Use\n", f"## Use\n\n{how}\n", 1)
    return signed(text.replace(PLACE, repository))


def _digest(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.encode())
