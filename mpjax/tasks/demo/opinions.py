"""Toy sentences that praise or blame.

The label needs the whole sentence: a negation inverts the word after it, the conjunction decides
which clause counts, and a doubt inverts everything. A bag of words does not suffice.
"""

from __future__ import annotations

from mpjax.tasks.demo import words
from mpjax.tasks.seeds import Dice


def opinion(dice: Dice) -> tuple[str, bool]:
    """Sentence, and whether it is favourable."""
    form = dice.below(8)
    first, good_first = _judgement(dice)
    if form < 2:
        return first, good_first
    if form == 2:
        doubt = dice.chance(50)
        verb = dice.pick(words.DENIALS if doubt else words.CLAIMS)
        return f"{dice.pick(words.PEOPLE)} {verb} that {first}", good_first != doubt
    second, good_second = _judgement(dice)
    if form < 5:
        return f"{first} but {second}", good_second
    if form < 7:
        return f"although {first} , {second}", good_second
    return f"{first} although {second}", good_first


def reaction(dice: Dice) -> str:
    """Opinion and somebody's reaction to it, as text for pretraining."""
    text, good = opinion(dice)
    person, verb = dice.pick(words.PEOPLE), dice.pick(words.GLAD if good else words.SAD)
    if dice.chance(50):
        return f"{text} . so {person} {verb} ."
    return f"{person} {verb} because {text} ."


def quality(dice: Dice, good: bool) -> str:
    """Words for good or bad, such as "fresh" or "hardly very dull"."""
    negated = dice.chance(25)
    said = [dice.pick(words.GOOD if good != negated else words.BAD)]
    if dice.chance(30):
        said.insert(0, dice.pick(words.DEGREES))
    if negated:
        said.insert(0, dice.pick(words.NEGATIONS))
    return " ".join(said)


def _judgement(dice: Dice) -> tuple[str, bool]:
    good = dice.chance(50)
    return f"the {dice.pick(words.EVENTS)} was {quality(dice, good)}", good
