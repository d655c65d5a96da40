"""Words that a tokenizer does not know, counted in encoded rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.base import Encoded

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

ROWS = 1000  # looked at
MOST = 0.05  # share of unknown tokens beyond which a vocabulary does not fit


def unknown_share(encoded: Encoded, tokenizer: Tokenizer) -> float:
    """Share of unknown tokens among those of the text, in the first `ROWS` rows; 0 without any."""
    ids = encoded.arrays["input_ids"][:ROWS]
    if tokenizer.unk_token_id is None:
        return 0.0
    unknown = tokenizer.unk_token_id
    special = [i for i in tokenizer.all_special_ids if i != unknown]
    text = (encoded.arrays["attention_mask"][:ROWS] == 1) & ~np.isin(ids, special)
    return float(np.sum(text & (ids == unknown))) / max(int(text.sum()), 1)


def check_known(encoded: Encoded, tokenizer: Tokenizer, what: str) -> None:
    """Warns of rows whose text a tokenizer hardly knows: a model learns little from them.

    Args:
      what: the rows, for the message.
    """
    share = unknown_share(encoded, tokenizer)
    if share > MOST:
        log.warning(
            "%.1f%% of the tokens of the first %d %s are %s: the vocabulary of %s does not fit the "
            "text; see do_lower_case in its tokenizer_config.json, or choose another model",
            100 * share, min(ROWS, len(encoded)), what, tokenizer.unk_token,
            shown(tokenizer.name_or_path),
        )  # fmt: skip
