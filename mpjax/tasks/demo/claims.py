"""Entailment between toy claims about all, some or none of a kind.

In the toy world everything is either good or bad, so a claim has one of four meanings: all are
good, some are good, some are bad, all are bad. "no song was dull" means the first, "not every song
was neat" the third. Each kind has at least one member, so "all" entails "some".
"""

from __future__ import annotations

from typing import Any

from mpjax.tasks.demo import words
from mpjax.tasks.demo.opinions import quality
from mpjax.tasks.seeds import Dice

LABELS = ("entailment", "neutral", "contradiction")
_VERDICTS = {"entailment": "yes", "neutral": "perhaps", "contradiction": "no"}

Claim = tuple[bool, bool]  # (all?, good?)


def inference(dice: Dice) -> dict[str, Any]:
    """Row with ``premise``, ``hypothesis`` and ``label`` (index into `LABELS`, uniform)."""
    wanted = dice.pick(LABELS)
    event = dice.pick(words.EVENTS)
    while True:
        premise, known = _premise(dice, event)
        # 80% of the hypotheses are good. With 50% the label depends on premise and hypothesis only
        # together (as in XOR), which a small network does not start to learn.
        every, good = dice.chance(50), dice.chance(80)
        if _relation(known, (every, good)) == wanted:
            break
    word = dice.pick(words.GOOD if good else words.BAD)
    return {
        "premise": f"{premise} .",
        "hypothesis": f"{'every' if every else 'some'} {event} was {word} .",
        "label": LABELS.index(wanted),
    }


def dialogue(dice: Dice) -> str:
    """Claim, question and answer, as text for pretraining."""
    pair = inference(dice)
    question = pair["hypothesis"].replace(" .", " ?")
    return f"{pair['premise']} {question} {_VERDICTS[LABELS[pair['label']]]} ."


def _premise(dice: Dice, event: str) -> tuple[str, Claim | None]:
    """Text of a claim and the claim it states; None for somebody's opinion, which states none."""
    claim = (dice.chance(50), dice.chance(50))
    text = _tell(dice, event, claim)
    form = dice.below(8)
    if form == 0:
        return f"{dice.pick(words.PEOPLE)} knew that {text}", claim
    if form == 1:
        return f"{dice.pick(words.PEOPLE)} thought that {text}", None
    return text, claim


def _tell(dice: Dice, event: str, claim: Claim) -> str:
    every, good = claim
    if dice.chance(75):
        return f"{'every' if every else 'some'} {event} was {quality(dice, good)}"
    word = dice.pick(words.BAD if good else words.GOOD)
    return f"{'no' if every else 'not every'} {event} was {word}"


def _relation(known: Claim | None, claim: Claim) -> str:
    if known is None:
        return "neutral"
    if known[1] == claim[1]:
        return "entailment" if known[0] or not claim[0] else "neutral"
    return "contradiction" if known[0] or claim[0] else "neutral"
