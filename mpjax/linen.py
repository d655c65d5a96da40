"""A thin Linen wrapper: any module, with its scores as a variable collection beside its params."""

from typing import Any

import jax
from flax import linen as nn
from flax.core import unfreeze

from mpjax.pruning import Pruning


class Pruned(nn.Module):
    """Wraps a Linen module so that ``init`` returns ``params`` and ``scores`` and ``apply`` prunes.

    ``apply(variables, …, threshold=t)`` runs the module on ``params ∘ masks(scores, t)``; without a
    threshold it runs the dense module. Both collections can be differentiated. Stochastic rules
    draw from the rng stream ``"gates"`` if it is given, and are deterministic without.

    The train step of this library does not use it: it masks once per step, outside the model.

    Attributes:
      module: any Linen module.
      pruning: rule, kernels and structure.

    >>> import jax, jax.numpy as jnp
    >>> from mpjax.pruning import make_rule
    >>> model = Pruned(nn.Dense(2), Pruning(make_rule("movement", final=0.5)))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, variables["scores"])
    {'kernel': (3, 2)}
    >>> model.apply(variables, jnp.ones((1, 3)), threshold=0.5).shape
    (1, 2)
    """

    module: nn.Module
    pruning: Pruning

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Variables of the wrapped module plus the ``scores`` collection.

        Args:
          rngs: a key or a dict of keys, as for any Linen module; ``scores`` if given, else
            ``params``, seeds random scores.
        """
        kwargs.pop("threshold", None)
        variables = unfreeze(self.module.init(rngs, *args, **kwargs))
        key = rngs.get("scores", rngs["params"]) if isinstance(rngs, dict) else rngs
        scores = self.pruning.init_scores(variables["params"], key)
        return {**variables, "scores": scores}

    def apply(
        self,
        variables: Any,
        *args: Any,
        threshold: float | jax.Array | None = None,
        rngs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """What the wrapped module returns, on masked parameters."""
        inner = {name: value for name, value in variables.items() if name != "scores"}
        if threshold is not None:
            scores, noise = variables.get("scores", {}), None
            if isinstance(rngs, dict) and "gates" in rngs:
                rngs = dict(rngs)
                noise = self.pruning.sample_noise(rngs.pop("gates"), scores)
            inner["params"], _ = self.pruning.prune(inner["params"], scores, threshold, noise)
        return self.module.apply(inner, *args, rngs=rngs, **kwargs)
