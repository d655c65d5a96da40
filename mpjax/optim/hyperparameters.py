"""Hyperparameters that differ between the members of a sweep."""

from __future__ import annotations

from typing import Any, NamedTuple

from mpjax.pruning.topk.num_kept import Threshold, TracedDensity


class Hyperparameters(NamedTuple):
    """Values that may be traced, so that one compiled program serves any of them.

    A pytree: scalars for one run, or arrays of shape (members,) for a population.

    Attributes:
      learning_rate: peak learning rate of weights, biases and norms.
      score_learning_rate: peak learning rate of the scores; None without scores.
      final_lambda: λ at the end of training; None without a penalty.
      final_threshold: density at the end of training; None = the final one of the rule.
      final_counts: number of entries kept at ``final_threshold``, by size; None without it. See
        `TracedDensity`.
    """

    learning_rate: Any
    score_learning_rate: Any = None
    final_lambda: Any = None
    final_threshold: Any = None
    final_counts: dict[int, Any] | None = None

    def density(self, threshold: Any) -> Threshold:
        """Threshold of a step as rules take it, with the final counts if they are traced."""
        if self.final_counts is None:
            return threshold
        return TracedDensity(threshold, self.final_threshold, self.final_counts)
