"""A Linen module whose kernels are masked by scores, a variable collection beside its params."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax.core import unfreeze

from mpjax.pruning import Pruning, Threshold


class Pruned(nn.Module):
    """Runs a Linen module on masked kernels: ``params ∘ masks(scores, threshold)``.

    ``init`` returns the variables of the module at the paths they have without the wrapper, so
    that pretrained parameters fit, and one more collection: ``scores``, at the paths of the pruned
    kernels. Other collections (``batch_stats``, ``intermediates``) and rng streams are those of the
    module. Gradients reach ``params`` and ``scores``, see `Pruning.prune`.

    Stochastic rules draw their noise from the rng stream ``"gates"``; without that stream the gates
    are deterministic. Random scores are seeded by the stream ``"scores"``, else by ``"params"``.

    The train step of this library does not use it: it masks once per step, outside the model.

    Attributes:
      module: any Linen module; its ``__call__`` is the method that runs.
      pruning: rule, kernels and structure; ``where`` sees paths relative to the module.

    >>> import jax, jax.numpy as jnp
    >>> from mpjax.pruning import make_rule
    >>> model = Pruned(nn.Dense(2), Pruning(make_rule("movement", final=0.5)))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, variables)
    {'params': {'bias': (2,), 'kernel': (3, 2)}, 'scores': {'kernel': (3, 2)}}
    >>> model.apply(variables, jnp.ones((1, 3)), threshold=0.5).shape
    (1, 2)
    """

    module: nn.Module
    pruning: Pruning

    def __post_init__(self) -> None:
        super().__post_init__()
        # One scope for both, so that the wrapper adds no level to the paths. Not in `setup`, which
        # Flax runs late: `model.bind(variables).module` would miss it.
        if self.scope is not None:
            nn.share_scope(self, self.module)

    def __call__(
        self,
        *args: Any,
        threshold: Threshold | None = None,
        kept: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Output of the module on masked kernels.

        Args:
          args, kwargs: arguments of the module.
          threshold: density or τ, as the rule takes it, possibly traced; None runs the module
            dense.
          kept: marks of held masks, as in `Pruning.prune`.

        Raises:
          InputError: the collection ``scores`` does not fit the kernels.
        """
        if self.is_initializing():
            dense = self.module(*args, **kwargs)
            self._init_scores()
            if threshold is None:
                return dense
        if threshold is None:
            return self.module(*args, **kwargs)
        return nn.map_variables(_call, "params", self._masked(threshold, kept))(
            self.module, *args, **kwargs
        )

    def _init_scores(self) -> None:
        stream = "scores" if self.has_rng("scores") else "params"
        scores = self.pruning.init_scores(self._collection("params"), self.make_rng(stream))
        for name, branch in scores.items():
            self.put_variable("scores", name, branch)

    def _masked(
        self, threshold: Threshold, kept: Any
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Map from variables of a scope to those with masked kernels."""
        params, scores = self._collection("params"), self._collection("scores")
        noise = None
        if self.has_rng("gates"):
            noise = self.pruning.sample_noise(self.make_rng("gates"), scores)
        pruned, _ = self.pruning.prune(params, scores, threshold, noise, kept=kept)
        own = [id(leaf) for leaf in jax.tree.leaves(params)]

        def mask(variables: dict[str, Any]) -> dict[str, Any]:
            # Called once for the module, and once for every submodule that was passed in from
            # outside: its parameters live elsewhere, and stay as they are.
            leaves = [id(leaf) for leaf in jax.tree.leaves(variables)]
            return {"params": pruned} if leaves == own else variables

        return mask

    def _collection(self, name: str) -> dict[str, Any]:
        collections: Any = self.variables
        return unfreeze(collections.get(name, {}))


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return module(*args, **kwargs)  # pyright: ignore[reportCallIssue]
