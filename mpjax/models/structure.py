"""Structures of encoders by name: what one score decides about in attention and in the FFN."""

import re

from mpjax.errors import InputError
from mpjax.pruning import Block, Element, Granularity, NofM, Part, Shared, Structure

# Regular expressions for re.fullmatch on the "/"-path of kernels and scores, as PRUNABLE.
ATTENTION = r".*/encoder/layer_\d+/attention/.*"
FFN = r".*/encoder/layer_\d+/ffn/.*"

SHORTHANDS = {
    "hybrid": {"attention": "block:32x32", "ffn": "units"},
    "heads": {"attention": "heads", "ffn": "units"},
}
GRAMMAR = (
    "give element, rows, columns, block:ROWSxCOLUMNS, N:M, hybrid or heads, or one for each group "
    "of matrices, such as attention=block:32x32,ffn=units (heads are for attention, units for ffn)"
)


def parse_structure(
    text: str, head_size: int, *, lambda_attention: float = 1.0, lambda_ffn: float = 1.0
) -> Structure:
    """The structure that a name stands for, the same in every family.

    ==================  ======================================================================
    ``element``         a score for every weight
    ``block:RxC``       for every R inputs x C outputs
    ``rows``            for every input feature of a matrix (a row of a Flax kernel)
    ``columns``         for every output feature
    ``N:M``             for every weight; N of every M consecutive inputs of an output survive
    ``heads``           for every head, over query, key, value and attention output
    ``units``           for every hidden unit of a feed-forward layer, over both its matrices
    ``attention=…``     one of these for attention, ``ffn=…`` one for the feed-forward layers
    ``hybrid``          ``attention=block:32x32,ffn=units``
    ``heads`` alone     ``attention=heads,ffn=units``: all that is pruned can be cut out
    ==================  ======================================================================

    Args:
      head_size: features of one attention head.
      lambda_attention, lambda_ffn: multiply λ for the scores of each group.

    Raises:
      InputError: another name.

    >>> parse_structure("attention=2:4,ffn=units", head_size=64).parts[0].granularity
    NofM(n=2, m=4)
    """
    names = _names(text)
    return Structure(
        (
            Part(ATTENTION, _granularity(text, "attention", names, head_size), lambda_attention),
            Part(FFN, _granularity(text, "ffn", names, head_size), lambda_ffn),
        )
    )


def _names(text: str) -> dict[str, str]:
    if text in SHORTHANDS:
        return SHORTHANDS[text]
    if "=" not in text:
        return {"attention": text, "ffn": text}
    pairs = [entry.split("=", 1) for entry in text.split(",")]
    names = {pair[0]: pair[-1] for pair in pairs}
    if names.keys() - {"attention", "ffn"} or len(names) < len(pairs):
        raise InputError(f"--structure is {text!r}; {GRAMMAR}")
    return {"attention": "element", "ffn": "element"} | names


def _granularity(text: str, group: str, names: dict[str, str], head_size: int) -> Granularity:
    name = names[group]
    simple: dict[str, Granularity] = {
        "element": Element(), "rows": Block(1, None), "columns": Block(None, 1),
    }  # fmt: skip
    if group == "attention":
        ends = ("(query|key|value)/kernel", 1), ("output/kernel", 0)
        simple["heads"] = Shared("heads", ends, head_size)
    else:
        simple["units"] = Shared("units", (("in/kernel", 1), ("out/kernel", 0)))
    if name in simple:
        return simple[name]
    if match := re.fullmatch(r"block:(\d+)x(\d+)", name):
        return Block(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"(\d+):(\d+)", name):
        return NofM(int(match[1]), int(match[2]))
    raise InputError(f"--structure is {text!r}; {GRAMMAR}")
