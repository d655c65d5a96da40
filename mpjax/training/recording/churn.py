"""Churn of masks: weights that leave the mask and come back between two logged steps."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mpjax.optim import Hyperparameters
from mpjax.pruning import Pruning, Tree, flatten
from mpjax.pruning.topk.counting import count_true
from mpjax.runs.journal import CHANGES
from mpjax.training.state import TrainState
from mpjax.training.step import measure_marks

_LAYER = re.compile(r"(?:^|/)layer_(\d+)/")
NEVER = -1  # step of the marks before the first ones


class Marks(NamedTuple):
    """Kept weights before a step.

    Attributes:
      kept: boolean arrays in the shapes of the kernels.
      step: updates made before; `NEVER` for marks that stand for none.
    """

    kept: Tree
    step: Any


class ChurnMeasure:
    """`make_measure` that also compares the masks with those of the call before.

    The metrics have `changes` under `CHANGES`, whose ``since`` is `NEVER` in the first call. The
    marks stay on the device, a byte a weight and in the sharding of the weights.

    Args:
      measure: of a state and the marks before; see :func:`churn`.
      blank: marks before the first call, from a state.
    """

    def __init__(
        self,
        measure: Callable[[TrainState, Marks], tuple[dict[str, Any], Marks]],
        blank: Callable[[TrainState], Marks],
    ) -> None:
        self._measure, self._blank = measure, blank
        self._before: Marks | None = None

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Metrics of the step that comes next."""
        before = self._blank(state) if self._before is None else self._before
        metrics, self._before = self._measure(state, before)
        return metrics


def churn_measure(
    pruning: Pruning | None,
    measure: Callable[..., tuple[dict[str, Any], Marks]],
    select: Callable[[TrainState], Tree | None],
    hyperparameters: Hyperparameters | None = None,
) -> ChurnMeasure:
    """`ChurnMeasure` of one run; without pruning it measures nothing.

    Args:
      measure: function of (hyperparameters, state, kept, before) as of :func:`churn`, to compile.
      select: compiled function of a state to its `kept_marks`.
      hyperparameters: those of the step, on its devices.
    """
    compiled: list[Callable[..., tuple[dict[str, Any], Marks]]] = []

    def measured(state: TrainState, before: Marks) -> tuple[dict[str, Any], Marks]:
        if not compiled:
            # Masks may come out split as the scores. Split as the weights, as they go in, the next
            # call finds the same program.
            split = (None, jax.tree.map(lambda marks: marks.sharding, before))
            compiled.append(jax.jit(measure, donate_argnums=3, out_shardings=split))
        return compiled[0](hyperparameters, state, select(state), before)

    def blank(state: TrainState) -> Marks:
        shardings = Marks(_like_kernels(pruning, state, lambda x: x.sharding), state.step.sharding)
        make = functools.partial(blank_marks, pruning, jax.eval_shape(lambda: state))
        return jax.jit(make, out_shardings=shardings)()

    return ChurnMeasure(measured, blank)


def churn(
    state: TrainState,
    pruning: Pruning | None,
    kept: Tree | None,
    before: Marks,
    hyperparameters: Hyperparameters | None = None,
) -> tuple[dict[str, Any], Marks]:
    """Metrics of a state with the changes of its masks, and its marks; not compiled.

    Args:
      kept: `kept_marks` of the state.
      before: marks of an earlier state.
    """
    metrics, marks = measure_marks(state, pruning, hyperparameters, kept=kept)
    if pruning is not None:
        metrics = {**metrics, CHANGES: {"since": before.step, **changes(before.kept, marks)}}
    return metrics, Marks(marks, state.step)


def blank_marks(pruning: Pruning | None, state: Any) -> Marks:
    """Marks of no weight; the state may be abstract."""
    kept = _like_kernels(pruning, state, lambda kernel: jnp.zeros(kernel.shape, bool))
    return Marks(kept, jnp.full(state.step.shape, NEVER, state.step.dtype))


def _like_kernels(pruning: Pruning | None, state: Any, value: Callable[[Any], Any]) -> Tree:
    if pruning is None:
        return {}
    layout = pruning.layout(state.params)
    return layout.like_kernels({path: value(kernel) for path, kernel in layout.kernels.items()})


def changes(before: Tree, now: Tree) -> dict[str, Any]:
    """Weights that leave the masks (``dropped``) and come back (``regrown``) between two cuts.

    All are shares: of all weights, and ``layers``, both kinds together, of the weights of a layer.
    A kernel outside of numbered layers stands under its path.

    >>> marks = lambda *kept: {"layer_0": {"kernel": jnp.array(kept)}}
    >>> found = changes(marks(True, True, False, False), marks(True, False, True, False))
    >>> {name: float(found[name]) for name in ("dropped", "regrown")}, float(found["layers"]["0"])
    ({'dropped': 0.25, 'regrown': 0.25}, 0.5)
    """
    dtype = jnp.result_type(float)
    then = flatten(before)
    counts: dict[str, tuple[jax.Array, jax.Array]] = {}
    sizes: dict[str, int] = {}
    for path, marks in flatten(now).items():
        match = _LAYER.search(path)
        layer = match[1] if match else path
        kinds = (then[path] & ~marks, ~then[path] & marks)
        dropped, regrown = (count_true(kind).astype(dtype) for kind in kinds)
        known = counts.get(layer, (jnp.zeros((), dtype), jnp.zeros((), dtype)))
        counts[layer] = (known[0] + dropped, known[1] + regrown)
        sizes[layer] = sizes.get(layer, 0) + marks.size
    total = sum(sizes.values())
    return {
        "dropped": sum(dropped for dropped, _ in counts.values()) / total,
        "regrown": sum(regrown for _, regrown in counts.values()) / total,
        "layers": {layer: sum(counts[layer]) / sizes[layer] for layer in counts},
    }
