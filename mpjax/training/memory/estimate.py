"""Bytes that a train step takes on a device, added up from shapes and shardings."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding

from mpjax.models import PRUNABLE, EncoderConfig
from mpjax.pruning import flatten
from mpjax.training.memory.activations import Computed, activation_bytes
from mpjax.training.state import TrainState


@dataclass(frozen=True)
class Trained:
    """Whether weights are masked, and the pattern of the paths that are not trained ("": none)."""

    pruned: bool
    frozen: str


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a train step on one device, by what they hold.

    Weights times masks and the activations are there when the backward pass begins, the gradients
    when it ends: the larger of the two counts. Kernels that are split over ``fsdp`` have been
    gathered for the forward pass, and are there until the backward pass has used them.

    Attributes:
      optimizer: moments of weights and scores, held masks, counters.
      masked: weights times masks but for those gathered, and the masks, a byte a weight.
      gathered: kernels, times masks, that the devices of ``fsdp`` have put together.
      activations: of the rows that are computed at once.
      gradients: of all that is trained, and masks.
      copies: sums of the gradients of microbatches; kernels and gradients of stacked layers.
      summed: what such sums take, or would take if there were microbatches.
    """

    parameters: int
    scores: int
    optimizer: int
    masked: int
    activations: int
    gradients: int
    copies: int
    computed: Computed
    summed: int = 0
    gathered: int = 0

    @property
    def weights(self) -> int:
        """Bytes beside the state and the activations when the backward pass begins."""
        return self.copies + self.masked + self.gathered

    @property
    def state(self) -> int:
        """Bytes from step to step."""
        return self.parameters + self.scores + self.optimizer

    @property
    def total(self) -> int:
        """Bytes at the highest point of a step."""
        return self.state + max(self.weights + self.activations, self.gradients)

    def sentence(self) -> str:
        """Total and parts in words.

        >>> parts = (90e6, 42e6, 264e6, 53e6, 1.5e9, 132e6, 0)
        >>> memory = StepMemory(*map(int, parts), Computed(rows=32, length=64))
        >>> print(memory.sentence())  # doctest: +NORMALIZE_WHITESPACE
        1.95 GB (parameters 0.09, scores 0.042, optimizer 0.264, masked weights 0.053, activations
        of 32 x 64 about 1.5; then gradients 0.132 in place of the last two)
        """
        unit, name = (1e9, "GB") if self.total >= 1e8 else (1e6, "MB")
        parts = {
            "parameters": self.parameters, "scores": self.scores, "optimizer": self.optimizer,
            "sums and stacks": self.copies, "masked weights": self.masked,
            "gathered weights": self.gathered,
            f"activations of {self.computed.rows} x {self.computed.length} about": self.activations,
        }  # fmt: skip
        listed = ", ".join(f"{part} {size / unit:.3g}" for part, size in parts.items() if size)
        others = sum(size > 0 for size in (self.copies, self.masked, self.gathered))
        place = "the last" + ("", " two", " three", " four")[others]
        return (
            f"{self.total / unit:.3g} {name} ({listed}; then gradients {self.gradients / unit:.3g} "
            f"in place of {place})"
        )


def step_memory(
    state: TrainState,
    places: TrainState,
    config: EncoderConfig,
    head: str,
    trained: Trained,
    computed: Computed,
) -> StepMemory:
    """Memory of a train step.

    Args:
      state: arrays or `jax.ShapeDtypeStruct`.
      places: sharding of every leaf of the state.
      config, head: of the model.
      trained: what is trained.
      computed: how a device computes a batch.
    """
    weights = dict(zip(flatten(state.params), jax.tree.leaves(places.params), strict=True))
    sizes = {path: shard_bytes(leaf, weights[path]) for path, leaf in flatten(state.params).items()}
    free = {path for path in sizes if not re.fullmatch(trained.frozen, path)}
    kernels = {path for path in sizes if re.fullmatch(PRUNABLE, path)}

    def of(paths: set[str]) -> int:
        return sum(sizes[path] for path in paths)

    prunable, scores = of(kernels), shard_bytes(state.scores, places.scores)
    masks = prunable // 4 if trained.pruned else 0  # a byte a weight
    split = {path: n for path in kernels if (n := _fsdp(weights[path])) > 1}
    kept = 0 if not trained.pruned else of(kernels - split.keys())  # weights times masks in place
    # Gradients of scores come from those of their weights, which are summed if frozen, too.
    summed = of(free | kernels if scores else free)
    return StepMemory(
        parameters=sum(sizes.values()),
        scores=scores,
        optimizer=shard_bytes(state.opt_state, places.opt_state),
        masked=masks + kept,
        activations=activation_bytes(config, head, computed),
        gradients=of(free) + scores + 2 * masks,
        copies=(summed if computed.microbatches > 1 else 0) + 2 * prunable * computed.stacked,
        computed=computed,
        summed=summed,
        gathered=sum(n * sizes[path] for path, n in split.items()) * computed.width // 4,
    )


def _fsdp(place: NamedSharding) -> int:
    """Number of parts that ``fsdp`` splits a kernel into; 1 where it does not divide it."""
    return place.mesh.shape["fsdp"] if "fsdp" in place.spec else 1


def shard_bytes(tree: Any, places: Any) -> int:
    """Bytes of a tree on one device.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`.
      places: sharding of every leaf.
    """
    leaves, shards = jax.tree.leaves(tree), jax.tree.leaves(places)
    return sum(
        math.prod(place.shard_shape(leaf.shape)) * (leaf.dtype.itemsize or 8)  # 8: a PRNG key
        for leaf, place in zip(leaves, shards, strict=True)
    )
