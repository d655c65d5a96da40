"""Model cards: the README.md of an exported or packed model, as the Hugging Face hub reads it."""

from mpjax.cards.facts import Facts, gather
from mpjax.cards.marks import CARD, addressed, is_ours
from mpjax.cards.text import make_card

__all__ = ["CARD", "Facts", "addressed", "gather", "is_ours", "make_card"]
