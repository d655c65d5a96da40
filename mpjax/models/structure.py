"""Structures of encoders by name: the granularity of scores in attention and in the FFN.

``block:RxC`` and ``hybrid`` come from Lagunas et al. 2021, "Block Pruning For Faster Transformers"
(arXiv 2109.04838): one score per block, its mask repeated over the block; ``hybrid`` has 32x32
blocks in attention and, in the FFN, one score per hidden unit shared by its column of FFN-in and
its row of FFN-out. λ has a multiplier for each of the two groups. ``heads``, one score over all
four matrices of a head, and N:M are not in the paper.
"""

import re
import sys
from collections.abc import Callable
from typing import Any

from mpjax import plugins
from mpjax.errors import InputError
from mpjax.pruning import Block, Element, Granularity, NofM, Part, Shared, Structure

# Patterns for re.fullmatch on the "/"-path of kernels and scores, as PRUNABLE.
ATTENTION = r".*/encoder/layer_\d+/attention/.*"
FFN = r".*/encoder/layer_\d+/ffn/.*"

_REGISTERED: dict[str, Callable[[int], Granularity]] = {}  # from outside, by name

SHORTHANDS = {
    "hybrid": {"attention": "block:32x32", "ffn": "units"},
    "heads": {"attention": "heads", "ffn": "units"},
}
STRUCTURE_GRAMMAR = (
    "give element, rows, columns, block:ROWSxCOLUMNS, N:M, hybrid or heads, or one for each group "
    "of matrices, such as attention=block:32x32,ffn=units (heads are for attention, units for ffn)"
)


def parse_structure(
    text: str, head_size: int, *, lambda_attention: float = 1.0, lambda_ffn: float = 1.0
) -> Structure:
    """Parses the name of a structure; valid in every family.

    ==================  ======================================================================
    ``element``         a score for every weight
    ``block:RxC``       a score for every R inputs x C outputs
    ``rows``            a score for every input feature of a matrix (a row of a Flax kernel)
    ``columns``         a score for every output feature
    ``N:M``             a score for every weight; N of every M consecutive inputs survive
    ``heads``           a score for every head, over query, key, value and attention output
    ``units``           a score for every FFN unit, over both matrices
    ``attention=…``     one of these for attention, and ``ffn=…`` one for the FFN
    ``hybrid``          ``attention=block:32x32,ffn=units``
    ``heads`` alone     ``attention=heads,ffn=units``: all pruned weights can be removed
    ==================  ======================================================================

    Args:
      head_size: features of one attention head.
      lambda_attention, lambda_ffn: multipliers of λ for the scores of each group.

    Raises:
      InputError: an unknown name.

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
    """Name of the granularity of each group."""
    if text in SHORTHANDS:
        return SHORTHANDS[text]
    if "=" not in text:
        return {"attention": text, "ffn": text}
    pairs = [entry.split("=", 1) for entry in text.split(",")]
    names = {pair[0]: pair[-1] for pair in pairs}
    if names.keys() - {"attention", "ffn"} or len(names) < len(pairs):
        raise InputError(f"--structure is {text!r}; {STRUCTURE_GRAMMAR}")
    return {"attention": "element", "ffn": "element"} | names


def _granularity(text: str, group: str, names: dict[str, str], head_size: int) -> Granularity:
    """Granularity of a group."""
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
    if name in _REGISTERED or plugins.search("structure", name):
        return _from_plugin(name, head_size)
    if match := re.fullmatch(r"block:(\d+)x(\d+)", name):
        return Block(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"(\d+):(\d+)", name):
        return NofM(int(match[1]), int(match[2]))
    raise InputError(f"--structure is {text!r}; {STRUCTURE_GRAMMAR}{_of_plugins()}")


def register_structure(name: str, make: Callable[[int], Granularity]) -> None:
    """Makes a granularity of another package available to ``--structure``; see `mpjax.plugins`.

    Args:
      name: for all matrices, or in ``attention=NAME`` and ``ffn=NAME``.
      make: granularity from the features of one attention head.

    Raises:
      InputError: the name is one of ours, or of another module.
    """
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    taken = ("element", "rows", "columns", "units", *SHORTHANDS)
    plugins.claim("structure", name, module, taken)
    _REGISTERED[name] = make


def _from_plugin(name: str, head_size: int) -> Granularity:
    made: Any = _REGISTERED[name](head_size)
    if isinstance(made, Granularity) and not isinstance(made, NofM):
        return made
    what = "an N:M granularity: give it as N:M" if isinstance(made, NofM) else "no Granularity"
    raise InputError(f"--structure {name} of a plugin makes {what}")


def _of_plugins() -> str:
    known = plugins.names("structure")
    return f", or of a plugin: {', '.join(known)}" if known else ""
