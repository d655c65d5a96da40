"""The JAX side of a comparison: the train step of a job, one step at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.torch_compare.numerics import Numerics
from mpjax import models
from mpjax.optim import pruning_state
from mpjax.pruning import Tree, flatten, select
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Job
from mpjax.training.predict import make_predict
from mpjax.training.state import TrainState, create_state
from mpjax.training.step import finalize, make_measure, make_train_step


class JaxSide:
    """A run of the library on the default device.

    Scores and masks are given by Hugging Face module and transposed to PyTorch's (out, in).
    """

    def __init__(self, job: Job, numerics: Numerics) -> None:
        self.job, model = job, job.inputs.model
        config, dtype = model.config, jnp.dtype(numerics.dtype)
        if not numerics.dropout:
            config = dataclasses.replace(
                config,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                classifier_dropout=None,
            )
        module = models.encoder(config, model.head, dtype, dtype)
        params = jax.tree.map(lambda a: jnp.asarray(a, dtype), model.params)
        tx = job.optimizer(None)
        self.state: TrainState = create_state(
            params, job.pruning, tx, seed=job.seed, score_init=job.score_init
        )
        self._names = models.torch_names(model.config, model.head)
        self._step = make_train_step(module, job.pruning, tx, job.loss)
        self._measure = make_measure(job.pruning)
        self._masks = jax.jit(self._make_masks)
        self._predict = make_predict(module)

    def step(self, batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        """One step; its task loss, threshold and density."""
        measures = self._measure(self.state)
        self.state, metrics = self._step(self.state, dict(batch))
        found = metrics | measures
        return {k: float(found[k]) for k in ("task_loss", "threshold", "density") if k in found}

    def masks(self) -> dict[str, np.ndarray]:
        """Masks of the next step; {} without pruning."""
        return {} if self.job.pruning is None else self._named(self._masks(self.state))

    def noise(self) -> dict[str, np.ndarray] | None:
        """Gate noise of the next step; None for a deterministic rule."""
        drawn = self._noise(self.state)
        return None if drawn is None else self._named(self._by_kernel(drawn))

    def scores(self) -> dict[str, np.ndarray]:
        """Current scores, repeated over the weights that they decide about."""
        return self._named(self._by_kernel(self.state.scores))

    def plain_params(self) -> dict[str, Any]:
        """Plain parameters after the steps so far, masks applied."""
        return finalize(self.state, self.job.pruning)

    def dev_score(self, params: Mapping[str, Any]) -> dict[str, float]:
        """The task's scores of plain parameters, and the nonzero share of the prunable weights."""
        kernels = flatten(select(params, models.PRUNABLE)).values()
        kept = sum(int(np.count_nonzero(kernel)) for kernel in kernels)
        found = score_dev(self._predict, params, self.job.inputs.dev, self.job.eval_batch)
        return found | {"linear_density": kept / sum(kernel.size for kernel in kernels)}

    def _noise(self, state: TrainState) -> Tree | None:
        if self.job.pruning is None:
            return None
        key = jax.random.split(jax.random.fold_in(state.rng, state.step))[1]
        return self.job.pruning.sample_noise(key, state.scores)

    def _make_masks(self, state: TrainState) -> dict[str, jax.Array]:
        pruning, now = self.job.pruning, pruning_state(state.opt_state)
        assert pruning is not None and now is not None
        noise = self._noise(state)
        return flatten(pruning.prune(state.params, state.scores, now.threshold, noise)[1])

    def _by_kernel(self, tree: Tree) -> dict[str, jax.Array]:
        """Arrays like the scores at the paths and in the shapes of the kernels."""
        if self.job.pruning is None:
            return {}
        layout = self.job.pruning.layout(self.state.params)
        return layout.expand(layout.read(tree))

    def _named(self, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays at kernel paths by their Hugging Face module, (out, in)."""
        return {self._names[p].removesuffix(".weight"): np.asarray(a).T for p, a in tree.items()}
