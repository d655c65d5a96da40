"""Vocabulary of the built-in toy language."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE = _words(
    "mira tolo anko besa luri pavo nemi oska rilo sune teva ulmo vani yori zeno kessa dorin "
    "fela galo hani ivo jora lumi marn"
)
THINGS = _words(
    "lantern kettle drum rope basket mirror feather shell candle whistle ladder marble ribbon "
    "button saddle bucket pebble blanket hammer spoon kite flute pillow wheel bell crown map "
    "pot chest broom"
)
PLACES = _words(
    "garden cellar tower market harbour meadow barn mill attic orchard chapel cave forest "
    "bakery stable library"
)
COLOURS = _words("red blue green yellow white black purple brown")
EVENTS = _words(
    "soup song story dance cake play journey feast speech game bread poem race dinner visit lesson"
)
GOOD = _words(
    "lovely bright warm fresh gentle clever sweet tidy calm cheerful splendid fine charming "
    "pleasant tender neat"
)
BAD = _words(
    "nasty dull cold stale rough silly bitter messy noisy gloomy dreadful poor tiresome ugly "
    "sour clumsy"
)
DEGREES = _words("very really quite rather truly so")
NEGATIONS = _words("not never hardly")
DENIALS = _words("denied doubted")
CLAIMS = _words("said thought")
GLAD = _words("smiled laughed cheered clapped")
SAD = _words("frowned sighed wept grumbled")
GRAMMAR = _words(
    "the was is in to from but although that had who what where gave got put . , ? so because yes "
    "no perhaps every some not knew thought then before at first last between it now"
)

VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys(
        word
        for group in (
            GRAMMAR, PEOPLE, THINGS, PLACES, COLOURS, EVENTS, GOOD, BAD, DEGREES, NEGATIONS,
            DENIALS, CLAIMS, GLAD, SAD,
        )
        for word in group
    )
)  # fmt: skip
