"""The idea itself: pure functions over nested dicts of arrays, knowing nothing of Flax or BERT."""

from mpjax.pruning.counts import encoder_remaining, linear_density, mask_density, overall
from mpjax.pruning.estimators import straight_through
from mpjax.pruning.fold import prune_params
from mpjax.pruning.granularities import Block, Element, Granularity, NofM, Shared
from mpjax.pruning.keys import ordered_keys
from mpjax.pruning.rules import RULES, Rule, make_rule
from mpjax.pruning.schedules import Schedule, cubic_schedule, linear_warmup_decay
from mpjax.pruning.selection import survivors, top_k_cuts, top_k_masks
from mpjax.pruning.structures import ELEMENT, Part, Structure
from mpjax.pruning.trees import Tree, Where, flatten, matcher, merge, select, unflatten

__all__ = [
    "ELEMENT",
    "RULES",
    "Block",
    "Element",
    "Granularity",
    "NofM",
    "Part",
    "Rule",
    "Schedule",
    "Shared",
    "Structure",
    "Tree",
    "Where",
    "cubic_schedule",
    "encoder_remaining",
    "flatten",
    "linear_density",
    "linear_warmup_decay",
    "make_rule",
    "mask_density",
    "matcher",
    "merge",
    "ordered_keys",
    "overall",
    "prune_params",
    "select",
    "straight_through",
    "survivors",
    "top_k_cuts",
    "top_k_masks",
    "unflatten",
]
