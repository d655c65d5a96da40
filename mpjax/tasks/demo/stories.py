"""Toy stories of a thing that changes hands, with questions answered by a span.

Giver and receiver depend on the verb, their order in time on the direction of the story, and denied
names stand beside the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpjax.tasks.demo import words
from mpjax.tasks.seeds import Dice


@dataclass(frozen=True)
class Story:
    """Story of a thing."""

    thing: str
    owners: tuple[str, ...]  # in order of time
    place: str | None  # where the last owner put it
    text: str


def story(dice: Dice) -> Story:
    """One or two gifts of a thing, told forwards or backwards, and perhaps its last place."""
    people = dice.sample(words.PEOPLE, 5)
    owners = tuple(people[: 2 + dice.below(2)])
    others = people[3:]
    thing = f"the {dice.pick(words.COLOURS)} {dice.pick(words.THINGS)}"
    gifts = list(zip(owners, owners[1:], others, strict=False))
    backwards = len(gifts) > 1 and dice.chance(50)
    told = gifts[::-1] if backwards else gifts
    # The thing is "it" after its first mention.
    sentences = [_gift(dice, gift, "it" if i else thing) for i, gift in enumerate(told)]
    text = (" . before that " if backwards else " . then ").join(sentences)
    place = None
    if dice.chance(40):
        place, other = dice.sample(words.PLACES, 2)
        where = _affirm(dice, f"in the {place}", f"in the {other}")
        text += f" . at last {owners[-1]} put it {where}"
    return Story(thing, owners, place, f"{text} .")


def question(dice: Dice) -> dict[str, Any]:
    """Story with a question: a row of `SquadTask` without id."""
    told = story(dice)
    asked, answer = _ask(dice, told)
    # Searched as a whole word, since names can be parts of other words.
    start = f" {told.text}".index(f" {answer} ")
    return {
        "title": "demo",
        "context": told.text,
        "question": asked,
        "answers": {"text": [answer], "answer_start": [start]},
    }


def lesson(dice: Dice) -> str:
    """Story and two questions with answers, as text for pretraining."""
    told = story(dice)
    return " ".join([told.text, *(f"{q} {a} ." for q, a in (_ask(dice, told), _ask(dice, told)))])


def _gift(dice: Dice, gift: tuple[str, str, str], thing: str) -> str:
    giver, receiver, other = gift
    if dice.chance(50):
        return f"{giver} gave {thing} {_affirm(dice, f'to {receiver}', f'to {other}')}"
    return f"{receiver} got {thing} {_affirm(dice, f'from {giver}', f'from {other}')}"


def _affirm(dice: Dice, true: str, false: str) -> str:
    form = dice.below(4)
    if form == 0:
        return f"not {false} but {true}"
    return f"{true} , not {false}" if form == 1 else true


def _ask(dice: Dice, told: Story) -> tuple[str, str]:
    questions = [
        ("who had it first ?", told.owners[0]),
        ("who had it last ?", told.owners[-1]),
        ("what was it ?", told.thing),
    ]
    if len(told.owners) > 2:
        questions.append(("who had it in between ?", told.owners[1]))
    if told.place is not None:
        questions.append(("where is it now ?", f"the {told.place}"))
    return dice.pick(questions)
