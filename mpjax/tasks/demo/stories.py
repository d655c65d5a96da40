"""Toy stories of a thing that goes from hand to hand, with questions answered by a span.

Who gave and who got depends on the verb, who came first on whether the story is told forwards, and
names that the story denies stand beside those it affirms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mpjax.tasks.demo import words
from mpjax.tasks.seeds import Dice


@dataclass(frozen=True)
class Story:
    """A thing's way: its owners in order of time, and where the last one put it, if anywhere."""

    thing: str
    owners: tuple[str, ...]
    place: str | None
    text: str


def story(dice: Dice) -> Story:
    """One or two gifts of a thing, told forwards or backwards, and maybe where it ended."""
    people = dice.sample(words.PEOPLE, 5)
    owners = tuple(people[: 2 + dice.below(2)])
    others = people[3:]
    thing = f"the {dice.pick(words.COLOURS)} {dice.pick(words.THINGS)}"
    gifts = list(zip(owners, owners[1:], others, strict=False))
    backwards = len(gifts) > 1 and dice.chance(50)
    told = gifts[::-1] if backwards else gifts
    # A thing is "it" once it has been named.
    sentences = [_gift(dice, gift, "it" if i else thing) for i, gift in enumerate(told)]
    text = (" . before that " if backwards else " . then ").join(sentences)
    place = None
    if dice.chance(40):
        place, other = dice.sample(words.PLACES, 2)
        where = _affirm(dice, f"in the {place}", f"in the {other}")
        text += f" . at last {owners[-1]} put it {where}"
    return Story(thing, owners, place, f"{text} .")


def question(dice: Dice) -> dict[str, Any]:
    """A story and a question on it: a row of `SquadTask` without its id."""
    told = story(dice)
    asked, answer = _ask(dice, told)
    # A name can be part of another word only at a word's end: look for the word.
    start = f" {told.text}".index(f" {answer} ")
    return {
        "title": "demo",
        "context": told.text,
        "question": asked,
        "answers": {"text": [answer], "answer_start": [start]},
    }


def lesson(dice: Dice) -> str:
    """A story and two questions with answers: what a masked language model can learn from."""
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
