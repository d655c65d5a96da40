"""Exact match and token F1 of answers, as SQuAD defines them (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from mpjax.errors import InputError
from mpjax.tasks.base import Row
from mpjax.tasks.squad.thresholds import best_threshold

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only, as in the official script


def normalise(text: str) -> str:
    """Lower case, then without ASCII punctuation, English articles and repeated spaces.

    >>> normalise("The  Eagle's nest, an inn")
    'eagles nest inn'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> float:
    """1 if both are equal after `normalise`, else 0."""
    return float(normalise(answer) == normalise(gold))


def token_f1(answer: str, gold: str) -> float:
    """F1 over the normalised words of both texts, counted with repeats.

    2·shared / (words of answer + words of gold). If either has no words: 1 if neither has, else 0.

    >>> token_f1("the red lantern", "a lantern")
    0.6666666666666666
    """
    a, b = normalise(answer).split(), normalise(gold).split()
    if not a or not b:
        return float(a == b)
    shared = sum((Counter(a) & Counter(b)).values())
    return 2.0 * shared / (len(a) + len(b))


def squad_scores(
    rows: Sequence[Row], predictions: Mapping[str, str], v2: bool = False
) -> dict[str, float]:
    """``f1`` and ``exact_match`` in percent: maximum over the gold answers, mean over questions.

    v2 ignores gold answers that normalise to nothing; a question left with none has the empty
    answer. It also reports ``HasAns_*`` and ``NoAns_*`` for questions with and without an answer.
    v1.1 gives F1 0 for a gold answer that normalises to nothing.

    Raises:
      InputError: a question without a prediction (the official v1.1 script counts it as wrong).
    """
    missing = [row["id"] for row in rows if row["id"] not in predictions]
    if missing:
        raise InputError(
            f"predictions: none for {len(missing)} of {len(rows)} questions, first {missing[0]}"
        )
    scores = [(row, *_best(predictions[row["id"]], row["answers"]["text"], v2)) for row in rows]
    result = _mean(scores)
    for name, kind in (("HasAns", True), ("NoAns", False)):
        chosen = [score for score in scores if bool(score[0]["answers"]["text"]) == kind]
        if v2 and chosen:
            result |= {f"{name}_{key}": value for key, value in _mean(chosen).items()}
    return result


def best_scores(
    rows: Sequence[Row], answers: Mapping[str, str], null_odds: Mapping[str, float]
) -> dict[str, float]:
    """Scores at the best null thresholds: ``best_exact``, ``best_f1``, and both ``..._thresh``.

    Args:
      answers: texts by question id, before any threshold.
      null_odds: null score minus score of the answer.
    """
    scores = {row["id"]: _best(answers[row["id"]], row["answers"]["text"], True) for row in rows}
    result = {}
    for name, place in (("exact", 1), ("f1", 0)):
        one = {identity: score[place] for identity, score in scores.items()}
        best, threshold = best_threshold(rows, answers, one, null_odds)
        result |= {f"best_{name}": best, f"best_{name}_thresh": threshold}
    return result


def _best(answer: str, golds: Sequence[str], v2: bool) -> tuple[float, float]:
    if v2:
        golds = [gold for gold in golds if normalise(gold)] or [""]
        overlap = max(token_f1(answer, gold) for gold in golds)
    else:
        overlap = max(token_f1(answer, gold) if normalise(gold) else 0.0 for gold in golds)
    return overlap, max(exact_match(answer, gold) for gold in golds)


def _mean(scores: Sequence[tuple[Row, float, float]]) -> dict[str, float]:
    n = max(len(scores), 1)
    return {
        "f1": 100.0 * sum(score[1] for score in scores) / n,
        "exact_match": 100.0 * sum(score[2] for score in scores) / n,
    }
