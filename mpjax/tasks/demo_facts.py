"""Toy passages about who gave what to whom and where things are, with inferences and questions.

A thing changes hands at most once in a passage, so what a passage tells about it settles some
questions and leaves the others open. Every wrong alternative is made of words of the passage:
which words occur tells nothing, who did what does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpjax.tasks import demo_words as words
from mpjax.tasks.seeds import Dice

LABELS = ("entailment", "neutral", "contradiction")
_VERDICTS = {"entailment": "yes", "neutral": "perhaps", "contradiction": "no"}


@dataclass(frozen=True)
class Fact:
    """Something that happened to a thing: it was given away, or put somewhere."""

    thing: str
    colour: str
    person: str  # who gave or put it
    receiver: str | None  # of a gift
    place: str | None  # of a thing put down

    def tell(self, swapped: bool = False) -> str:
        """A sentence; `swapped` tells a gift from the receiver's side."""
        thing = f"the {self.colour} {self.thing}"
        if self.place is not None:
            return f"{self.person} put {thing} in the {self.place}"
        if swapped:
            return f"{self.receiver} got {thing} from {self.person}"
        return f"{self.person} gave {thing} to {self.receiver}"


def facts(dice: Dice, n: int) -> list[Fact]:
    """`n` facts with no person, thing, colour or place twice."""
    people = dice.sample(words.PEOPLE, 2 * n)
    things, colours = dice.sample(words.THINGS, n), dice.sample(words.COLOURS, n)
    places = dice.sample(words.PLACES, n)
    told = []
    for i in range(n):
        gift = dice.chance(50)
        told.append(
            Fact(
                thing=things[i],
                colour=colours[i],
                person=people[2 * i],
                receiver=people[2 * i + 1] if gift else None,
                place=None if gift else places[i],
            )
        )
    return told


def passage(dice: Dice, told: list[Fact]) -> str:
    """The facts as sentences."""
    return " . ".join(fact.tell(swapped=dice.chance(50)) for fact in told) + " ."


def inference(dice: Dice) -> dict[str, Any]:
    """``premise``, ``hypothesis`` and ``label`` (index into `LABELS`), labels equally often."""
    wanted = dice.pick(LABELS)
    told = facts(dice, 2)
    premise = passage(dice, told)
    while True:
        hypothesis, label = _statement(dice, told)
        if label == wanted:
            return {
                "premise": premise,
                "hypothesis": hypothesis,
                "label": LABELS.index(label),
            }


def question(dice: Dice) -> dict[str, Any]:
    """A passage of two facts and a question on one: a row of `SquadTask` without its id."""
    told = facts(dice, 2)
    context = passage(dice, told)
    asked, answer = _question(dice, dice.pick(told))
    return {
        "title": "demo",
        "context": context,
        "question": asked,
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }


def story(dice: Dice) -> str:
    """A passage and what can be said and asked of it: what a language model can learn from."""
    told = facts(dice, 1 + dice.below(2))
    said = [passage(dice, told)]
    for _ in range(2):
        kind = dice.below(3)
        if kind == 0:
            asked, answer = _question(dice, dice.pick(told))
            said.append(f"{asked} {answer} .")
        else:
            statement, label = _statement(dice, told)
            said.append(f"{statement} ? {_VERDICTS[label]} .")
    return " ".join(said)


def _statement(dice: Dice, told: list[Fact]) -> tuple[str, str]:
    """A statement on one of the facts and its label."""
    fact = dice.pick(told)
    kind = dice.below(4)
    if kind == 0:
        colour = dice.pick([other.colour for other in told])
        return f"the {fact.thing} is {colour}", _label(colour, fact.colour)
    if kind == 1:
        place = dice.pick(
            [*(other.place for other in told if other.place), dice.pick(words.PLACES)]
        )
        return f"the {fact.thing} is in the {place}", _label(place, fact.place)
    people = [p for other in told for p in (other.person, other.receiver) if p]
    if kind == 2:
        person, negated = dice.pick(people), dice.chance(50)
        label = _label(person, fact.receiver)
        if negated:
            return f"{person} does not have the {fact.thing}", _opposite(label)
        return f"{person} has the {fact.thing}", label
    giver = dice.pick(people)
    if fact.receiver is not None and dice.chance(60):
        giver = dice.pick([fact.person, fact.receiver])
    return f"{giver} gave the {fact.thing} away", _label(
        giver, fact.person if fact.receiver else None
    )


def _label(claimed: str, known: str | None) -> str:
    if known is None:
        return "neutral"
    return "entailment" if claimed == known else "contradiction"


def _opposite(label: str) -> str:
    return {"entailment": "contradiction", "contradiction": "entailment"}.get(label, label)


def _question(dice: Dice, fact: Fact) -> tuple[str, str]:
    if fact.place is not None:
        return dice.pick(
            [
                (f"where is the {fact.thing} ?", f"the {fact.place}"),
                (f"what did {fact.person} put down ?", f"the {fact.colour} {fact.thing}"),
                (f"who put the {fact.thing} down ?", fact.person),
            ]
        )
    return dice.pick(
        [
            (f"who has the {fact.thing} ?", f"{fact.receiver}"),
            (f"who gave the {fact.thing} away ?", fact.person),
            (f"what did {fact.person} give away ?", f"the {fact.colour} {fact.thing}"),
        ]
    )
