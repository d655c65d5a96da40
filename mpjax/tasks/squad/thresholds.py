"""The null threshold of SQuAD v2.0 that scores best, as its official script finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpjax.tasks.base import Row


def best_threshold(
    rows: Sequence[Row],
    answers: Mapping[str, str],
    scores: Mapping[str, float],
    null_odds: Mapping[str, float],
) -> tuple[float, float]:
    """Best mean score in percent over all thresholds, and the threshold.

    A question whose null odds exceed the threshold gets no answer. From answering none, questions
    are answered in the order of their odds: one with gold answers adds its score, one without takes
    its point away unless the answer is empty. The first best sum counts, at the odds of the
    question that reaches it, or 0 where none does.

    Args:
      answers: texts by question id, before any threshold.
      scores: of these answers, from 0 to 1.
      null_odds: null score minus score of the answer.
    """
    answerable = {row["id"]: bool(row["answers"]["text"]) for row in rows}
    total = best = float(sum(not known for known in answerable.values()))
    threshold = 0.0
    for name in sorted(answerable, key=lambda name: null_odds[name]):
        if answerable[name]:
            total += scores[name]
        elif answers[name]:
            total -= 1.0
        if total > best:
            best, threshold = total, null_odds[name]
    return 100.0 * best / max(len(answerable), 1), threshold
