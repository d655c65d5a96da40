"""Movement pruning of pretrained transformers in JAX and Flax.

The names a user needs, loaded when first used, so that ``import mpjax`` and ``mpjax --help`` stay
instant:

* rules: :func:`make_rule`, ``RULES``, :func:`prune_params`, :func:`select`,
  :func:`straight_through`, :func:`top_k_masks`, :func:`cubic_schedule`
* any Linen module with a ``scores`` collection: :class:`Pruned`
* the optax chain: :class:`OptimizerConfig`, :func:`make_optimizer`
* models: :func:`load_model`, :func:`save_model`
* the jitted step: :func:`create_state`, :func:`make_train_step`, :func:`make_measure`, :func:`fold`
* on the CPU, memory kept between steps: :func:`keep_freed_memory`
* mistakes in what a user gave: :class:`InputError`

>>> import mpjax
>>> mpjax.make_rule("movement", final=0.1).name
'movement'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpjax.errors import InputError
    from mpjax.hostmemory import keep_freed_memory
    from mpjax.linen import Pruned
    from mpjax.models import load_model, save_model
    from mpjax.optim import OptimizerConfig, make_optimizer
    from mpjax.pruning import (
        RULES,
        cubic_schedule,
        make_rule,
        prune_params,
        select,
        straight_through,
        top_k_masks,
    )
    from mpjax.training.state import create_state
    from mpjax.training.step import fold, make_measure, make_train_step

_HOMES = {
    "InputError": "mpjax.errors",
    "OptimizerConfig": "mpjax.optim",
    "Pruned": "mpjax.linen",
    "RULES": "mpjax.pruning",
    "create_state": "mpjax.training.state",
    "cubic_schedule": "mpjax.pruning",
    "fold": "mpjax.training.step",
    "keep_freed_memory": "mpjax.hostmemory",
    "load_model": "mpjax.models",
    "make_measure": "mpjax.training.step",
    "make_optimizer": "mpjax.optim",
    "make_rule": "mpjax.pruning",
    "make_train_step": "mpjax.training.step",
    "prune_params": "mpjax.pruning",
    "save_model": "mpjax.models",
    "select": "mpjax.pruning",
    "straight_through": "mpjax.pruning",
    "top_k_masks": "mpjax.pruning",
}

__version__ = "0.1.0"
__all__ = [
    "RULES",
    "InputError",
    "OptimizerConfig",
    "Pruned",
    "create_state",
    "cubic_schedule",
    "fold",
    "keep_freed_memory",
    "load_model",
    "make_measure",
    "make_optimizer",
    "make_rule",
    "make_train_step",
    "prune_params",
    "save_model",
    "select",
    "straight_through",
    "top_k_masks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mpjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
