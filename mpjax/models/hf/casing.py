"""Whether a tokenizer keeps capitals as its vocabulary needs it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpjax.files import shown
from mpjax.log import warn_once

_CASED = 0.05  # share of words with capitals from which a vocabulary is one of cased text


def capitalised(tokens: Iterable[str]) -> tuple[list[str], int]:
    """Tokens with capitals, sorted, and the number of all tokens with letters.

    >>> capitalised(["[PAD]", "the", "Paris", "##s", "!"])
    (['Paris'], 3)
    """
    words = [t for t in tokens if any(c.isalpha() for c in t) and not _is_special(t)]
    return sorted(word for word in words if word != word.lower()), len(words)


def is_cased(tokens: Iterable[str]) -> bool:
    """Whether a vocabulary is one of cased text."""
    capitals, words = capitalised(tokens)
    return len(capitals) > _CASED * words


def lowers(tokenizer: Any) -> bool | None:
    """Whether a tokenizer lower-cases text; None if it does not say."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return None if normalizer is None else normalizer.normalize_str("Aa") == "aa"


def check_casing(tokenizer: Any, source: Path) -> None:
    """Warns once of capitals that are never given, or that the vocabulary lacks."""
    capitals, words = capitalised(set(tokenizer.get_vocab()) - set(_added(tokenizer)))
    lower = lowers(tokenizer)
    about, remedy = f"casing {source}", "set do_lower_case in its tokenizer_config.json"
    if lower and capitals:
        warn_once(
            about,
            f"{shown(source)}: the tokenizer lower-cases text, so {len(capitals)} of {words} "
            f"tokens are never given ({shown(', '.join(capitals[:3]))}, ...); for a cased model "
            f"{remedy} to false",
        )
    if lower is False and words and not capitals:
        warn_once(
            about,
            f"{shown(source)}: the tokenizer keeps capitals, and its vocabulary has none, so words "
            f"with capitals become unknown; {remedy} to true",
        )


def _added(tokenizer: Any) -> Iterable[str]:
    return {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}


def _is_special(token: str) -> bool:
    """Whether a token is none of text: [PAD], <s>, [unused7]."""
    return token[:1] + token[-1:] in ("[]", "<>")
