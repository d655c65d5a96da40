"""Movement pruning of pretrained transformers in JAX and Flax.

Names are loaded on first use, so that ``import mpjax`` and ``mpjax --help`` import no jax:

* pruning: :class:`Pruning`, :func:`make_rule`, ``RULES``, :class:`Structure`,
  :func:`select`, :func:`straight_through`, :func:`top_k_masks`, :func:`cubic_schedule`
* Linen modules with a ``scores`` collection: :class:`Pruned`
* optax chain: :class:`OptimizerConfig`, :func:`make_optimizer`, :func:`pruning_state`
* models: :func:`load_model`, :func:`save_model`
* train step, to be jitted: :func:`create_state`, :func:`make_train_step`, :func:`make_measure`,
  :func:`finalize`
* runs: :class:`TrainConfig`, :func:`recipe_config`, :func:`train`
* plugins: :class:`Rule`, :func:`register_task`, :func:`register_structure`
* CPU memory kept between steps: :func:`keep_freed_memory`
* errors in user input: :class:`InputError`

and the submodules, such as ``mpjax.optim`` and ``mpjax.pruning``.

>>> import mpjax
>>> mpjax.make_rule("movement", final=0.1).name
'movement'
>>> mpjax.optim.sparsity_schedule.__name__
'sparsity_schedule'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpjax import export as export
    from mpjax import models as models
    from mpjax import optim as optim
    from mpjax import parallel as parallel
    from mpjax import planning as planning
    from mpjax import pruning as pruning
    from mpjax import report as report
    from mpjax import runs as runs
    from mpjax import sweep as sweep
    from mpjax import tasks as tasks
    from mpjax import training as training
    from mpjax.config.recipes import recipe_config
    from mpjax.config.train import TrainConfig
    from mpjax.errors import InputError
    from mpjax.hostmemory import keep_freed_memory
    from mpjax.linen import Pruned
    from mpjax.models import load_model, save_model
    from mpjax.models.structure import register_structure
    from mpjax.optim import OptimizerConfig, make_optimizer, pruning_state
    from mpjax.pruning import (
        RULES,
        Pruning,
        Rule,
        Structure,
        cubic_schedule,
        linear_density,
        make_rule,
        select,
        straight_through,
        top_k_masks,
    )
    from mpjax.tasks import register_task
    from mpjax.training.state import create_state
    from mpjax.training.step import finalize, make_measure, make_train_step
    from mpjax.training.train import train

_HOMES = {
    "InputError": "mpjax.errors",
    "OptimizerConfig": "mpjax.optim",
    "Pruned": "mpjax.linen",
    "Pruning": "mpjax.pruning",
    "RULES": "mpjax.pruning",
    "Rule": "mpjax.pruning",
    "Structure": "mpjax.pruning",
    "TrainConfig": "mpjax.config.train",
    "create_state": "mpjax.training.state",
    "cubic_schedule": "mpjax.pruning",
    "finalize": "mpjax.training.step",
    "keep_freed_memory": "mpjax.hostmemory",
    "linear_density": "mpjax.pruning",
    "load_model": "mpjax.models",
    "make_measure": "mpjax.training.step",
    "make_optimizer": "mpjax.optim",
    "make_rule": "mpjax.pruning",
    "make_train_step": "mpjax.training.step",
    "pruning_state": "mpjax.optim",
    "recipe_config": "mpjax.config.recipes",
    "register_structure": "mpjax.models.structure",
    "register_task": "mpjax.tasks",
    "save_model": "mpjax.models",
    "select": "mpjax.pruning",
    "straight_through": "mpjax.pruning",
    "top_k_masks": "mpjax.pruning",
    "train": "mpjax.training.train",
}
_SUBMODULES = (
    "cli", "config", "export", "models", "optim", "parallel", "planning", "pruning", "report",
    "runs", "sweep", "tasks", "training",
)  # fmt: skip

__version__ = "0.2.0.dev0"
__all__ = [
    "RULES",
    "InputError",
    "OptimizerConfig",
    "Pruned",
    "Pruning",
    "Rule",
    "Structure",
    "TrainConfig",
    "create_state",
    "cubic_schedule",
    "finalize",
    "keep_freed_memory",
    "linear_density",
    "load_model",
    "make_measure",
    "make_optimizer",
    "make_rule",
    "make_train_step",
    "pruning_state",
    "recipe_config",
    "register_structure",
    "register_task",
    "save_model",
    "select",
    "straight_through",
    "top_k_masks",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"mpjax.{name}")
    raise AttributeError(f"module 'mpjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_SUBMODULES])
