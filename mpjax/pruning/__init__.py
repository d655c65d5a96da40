"""Movement pruning as pure functions over nested dicts of arrays, for any model in JAX."""

from mpjax.pruning.density import linear_density, mask_density
from mpjax.pruning.estimators import straight_through
from mpjax.pruning.granularities import Block, Element, Granularity, NofM, Shared
from mpjax.pruning.pruning import Pruning
from mpjax.pruning.rules import RULES, Rule, make_rule, top_v
from mpjax.pruning.schedules import Schedule, cubic_schedule, linear_cycles, linear_warmup_decay
from mpjax.pruning.structures import ELEMENT, Part, Structure
from mpjax.pruning.topk.keys import ordered_keys
from mpjax.pruning.topk.masks import top_k_cuts, top_k_masks
from mpjax.pruning.topk.num_kept import Threshold, TracedDensity, num_kept
from mpjax.pruning.trees import Tree, Where, flatten, matcher, merge, select, unflatten

__all__ = [
    "ELEMENT",
    "RULES",
    "Block",
    "Element",
    "Granularity",
    "NofM",
    "Part",
    "Pruning",
    "Rule",
    "Schedule",
    "Shared",
    "Structure",
    "Threshold",
    "TracedDensity",
    "Tree",
    "Where",
    "cubic_schedule",
    "flatten",
    "linear_cycles",
    "linear_density",
    "linear_warmup_decay",
    "make_rule",
    "mask_density",
    "matcher",
    "merge",
    "num_kept",
    "ordered_keys",
    "select",
    "straight_through",
    "top_k_cuts",
    "top_k_masks",
    "top_v",
    "unflatten",
]
