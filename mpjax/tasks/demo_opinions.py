"""Toy sentences that praise or blame; whether they do takes the whole sentence to tell.

A word of praise is turned by a negation beside it, the half of a sentence that counts is chosen by
its conjunction, and a doubt turns everything. So counting good and bad words does little better
than guessing.
"""

from __future__ import annotations

from mpjax.tasks import demo_words as words
from mpjax.tasks.seeds import Dice


def opinion(dice: Dice) -> tuple[str, bool]:
    """A sentence and whether it is favourable."""
    form = dice.below(8)
    if form < 2:
        return _judgement(dice)
    if form == 2:
        person = dice.pick(words.PEOPLE)
        doubt = dice.chance(50)
        text, good = _judgement(dice)
        verb = dice.pick(words.DENIALS if doubt else words.CLAIMS)
        return f"{person} {verb} that {text}", good != doubt
    first, good_first = _judgement(dice)
    second, good_second = _judgement(dice)
    if form < 5:
        return f"{first} but {second}", good_second
    if form < 7:
        return f"although {first} , {second}", good_second
    return f"{first} although {second}", good_first


def reaction(dice: Dice) -> str:
    """An opinion and what someone did about it: what a masked language model can learn from."""
    text, good = opinion(dice)
    person, verb = dice.pick(words.PEOPLE), dice.pick(words.GLAD if good else words.SAD)
    if dice.chance(50):
        return f"{text} . so {person} {verb} ."
    return f"{person} {verb} because {text} ."


def _judgement(dice: Dice) -> tuple[str, bool]:
    good, negated = dice.chance(50), dice.chance(25)
    said = [dice.pick(words.GOOD if good != negated else words.BAD)]
    if dice.chance(30):
        said.insert(0, dice.pick(words.DEGREES))
    if negated:
        said.insert(0, dice.pick(words.NEGATIONS))
    return f"the {dice.pick(words.EVENTS)} was {' '.join(said)}", good
