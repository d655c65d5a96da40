"""Optax chain of a pruning run: learning-rate groups, score penalty, clip, schedules."""

import dataclasses
import math
from collections.abc import Callable, Hashable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from mpjax.optim.held_masks import hold_masks
from mpjax.optim.hyperparameters import Hyperparameters
from mpjax.optim.score_optimizers import IMPORTANCES, SCORE_OPTIMIZERS, platon, sensitivity
from mpjax.optim.skipping import skip_not_finite
from mpjax.optim.steering import Funnel, steer_density
from mpjax.optim.transforms import (
    add_score_penalty,
    clip_grad_norm,
    freeze_params,
    per_weight,
    sparsity_schedule,
    with_parts,
)
from mpjax.pruning.pruning import Pruning
from mpjax.pruning.rules import Rule
from mpjax.pruning.schedules import (
    Schedule,
    cubic_schedule,
    cut_is_due,
    held,
    last_cut,
    linear_cycles,
    linear_schedule,
    linear_warmup_decay,
)
from mpjax.pruning.trees import compiled, leaves_by_keys, map_named, names

_NOT_NEGATIVE = (
    "learning_rate", "score_learning_rate", "weight_decay", "adam_eps", "warmup_steps",
    "initial_warmup", "final_warmup", "final_lambda", "first_step", "lr_floor",
)  # fmt: skip
FROZEN, NO_DECAY, WEIGHTS, SCORES = "frozen", "no_decay", "weights", "scores"
UNDECAYED = ("bias", "scale", "b", "offset")  # biases and norms in Flax, NNX, Equinox, Haiku


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Hyperparameters of :func:`make_optimizer`; the defaults are the published ones.

    Attributes:
      learning_rate: peak learning rate of weights, biases and norms.
      score_learning_rate: peak learning rate of the scores.
      weight_decay: decoupled weight decay of the weights; biases and norms have none, but for
        norms of Equinox whose `weight` has two axes, as those in a stack of layers.
      adam_eps: ε of Adam.
      max_grad_norm: largest global norm of the gradient; ``inf`` for no clipping.
      warmup_steps: linear warm-up from 0 of all learning rates, in steps.
      initial_warmup, final_warmup: flat ends of the sparsity ramp, in multiples of the warm-up.
      final_lambda: λ at the end of training, the factor of the rule's penalty.
      lambda_ramp: "threshold", λ follows the rule's threshold; "rising", it goes from 0 to
        ``final_lambda`` along the cubic ramp.
      first_step: t of the first forward pass in the sparsity schedule.
      frozen: regular expression for the ``/``-joined paths of parameters that are not trained; ""
        freezes none. The published runs freeze the embeddings, as `mpjax train` does.
      score_optimizer: one of ``SCORE_OPTIMIZERS``; "sensitivity", "platon" have no learning rate,
        and average the importance by gradients after clipping.
      score_beta: share of the running importance of "sensitivity" and "platon" that a step keeps.
      prune_every: steps between two changes of the threshold, and of the masks where `prune` and
        `finalize` are given the marks that the state holds, ``kept=held_marks(opt_state)``.
      first_cut: t of the first change, from which the others are counted; None = ``first_step``.
      first_density: density of the first cut; None = the ramp starts at the initial threshold.
      lr_cycle: steps in which the learning rate of the weights falls to ``lr_floor``, before it
        starts again at its peak; the first cycle starts with the sparsity ramp. None = no cycles.
      lr_start: update that begins the first cycle instead.
      lr_floor: learning rate of the weights at the end of a cycle, or of the run.
    """

    learning_rate: float = 3e-5
    score_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    adam_eps: float = 1e-8
    max_grad_norm: float = 1.0
    warmup_steps: int = 0
    initial_warmup: float = 1.0
    final_warmup: float = 2.0
    final_lambda: float = 0.0
    lambda_ramp: str = "threshold"
    first_step: int = 0
    frozen: str = ""
    score_optimizer: str = "adam"
    score_beta: float = 0.85
    prune_every: int = 1
    first_cut: int | None = None
    first_density: float | None = None
    lr_cycle: int | None = None
    lr_start: int | None = None
    lr_floor: float = 0.0

    def __post_init__(self) -> None:
        if self.score_optimizer not in SCORE_OPTIMIZERS:
            raise ValueError(
                f"score_optimizer is {self.score_optimizer!r}; it must be one of "
                f"{', '.join(SCORE_OPTIMIZERS)}"
            )
        if not 0 <= self.score_beta < 1:
            raise ValueError(f"score_beta is {self.score_beta}; it must be at least 0 and below 1")
        if self.lambda_ramp not in ("threshold", "rising"):
            raise ValueError(f"lambda_ramp is {self.lambda_ramp!r}; it must be threshold or rising")
        if self.first_density is not None and not 0 < self.first_density <= 1:
            raise ValueError(
                f"first_density is {self.first_density}; it must be above 0 and at most 1"
            )
        if not self.prune_every >= 1:
            raise ValueError(f"masks change every {self.prune_every} steps; use 1 or more")
        if self.lr_cycle is not None and self.lr_cycle < 1:
            raise ValueError(f"lr_cycle is {self.lr_cycle}; it must be 1 step or more")
        for name in _NOT_NEGATIVE:
            given: Any = getattr(self, name)
            if given is None or isinstance(given, str) or callable(given):
                raise ValueError(
                    f"{name} is {given!r}; it must be a number (warmup_steps, lr_cycle and lr_floor"
                    " make the schedules)"
                )
            value = _known(given)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be a number of at least 0")
        if (norm := _known(self.max_grad_norm)) is not None and not norm > 0:
            raise ValueError(
                f"max_grad_norm is {self.max_grad_norm}; it must be above 0, inf for no clipping"
            )

    def hyperparameters(self) -> Hyperparameters:
        """Hyperparameters that a population may trace, as Python floats."""
        return Hyperparameters(self.learning_rate, self.score_learning_rate, self.final_lambda)


def schedules(
    config: OptimizerConfig,
    rule: Rule,
    total_steps: int,
    hyperparameters: Hyperparameters | None = None,
) -> tuple[Schedule, Schedule]:
    """Threshold and λ by step: the cubic ramp, and λ(t) = λ_final · x(t)/x_final or a rising ramp.

    Args:
      config: lengths of the flat ends.
      rule: initial threshold and scale of λ.
      total_steps: T, the steps of the run.
      hyperparameters: final threshold and λ, possibly traced; None = from ``config`` and ``rule``.
    """
    values = hyperparameters or config.hyperparameters()
    final = rule.final if values.final_threshold is None else values.final_threshold
    ends = (total_steps, config.warmup_steps, config.initial_warmup, config.final_warmup)
    threshold = cubic_schedule(rule.initial, final, *ends, config.first_density)
    rising = cubic_schedule(0.0, 1.0, *ends) if config.lambda_ramp == "rising" else None
    if config.prune_every > 1:
        threshold = held(
            threshold, config.prune_every, total_steps, config.first_step, config.first_cut
        )

    def lam(step: int | jax.Array) -> jax.Array:
        if not rule.has_penalty:
            return jnp.zeros((), jnp.result_type(float))
        if rising is not None:
            return values.final_lambda * rising(step)
        return values.final_lambda * rule.penalty_scale(threshold(step), final)

    return threshold, lam


def make_funnel(
    config: OptimizerConfig, rule: Rule, total_steps: int, hyperparameters: Hyperparameters
) -> Funnel:
    """Walls, threshold and scale of λ of a steered run; arguments as in :func:`schedules`.

    The lower wall is the cubic ramp, the upper one linear: scores fall below the rule's threshold
    late, and a cut by scores that have hardly moved is a bad one.
    """
    final = hyperparameters.final_threshold
    final = rule.final_density if final is None else final
    assert final is not None, "a steered rule has a density"
    ends = (total_steps, config.warmup_steps, config.initial_warmup, config.final_warmup)
    lower = cubic_schedule(1.0, final, *ends, config.first_density)
    upper = linear_schedule(1.0, final, *ends)
    if rule.is_density:  # of L0: a constant decides which gates are open, and scales nothing
        zero, one = (
            lambda step: jnp.zeros_like(upper(step)),
            lambda step: jnp.ones_like(upper(step)),
        )
        return Funnel(lower, upper, zero, one)
    threshold = cubic_schedule(rule.initial, rule.final, *ends)
    return Funnel(
        lower, upper, threshold, lambda step: rule.penalty_scale(threshold(step), rule.final)
    )


def weight_schedule(config: OptimizerConfig, peak: Any, total_steps: int) -> Schedule:
    """Learning rate of weights, biases and norms by update, counted from 0.

    Args:
      config: warm-up, cycle and floor.
      peak: peak learning rate, possibly traced.
      total_steps: T, the steps of the run.
    """
    if config.lr_cycle is None and config.lr_floor == 0:
        return linear_warmup_decay(peak, total_steps, config.warmup_steps)
    # The forward pass of update u has t = u + first_step in the sparsity schedule.
    start = math.ceil(config.initial_warmup * config.warmup_steps) - config.first_step
    if config.lr_start is not None:
        start = config.lr_start
    elif config.first_cut is None:  # cuts are at multiples of prune_every
        start = -(-start // config.prune_every) * config.prune_every
    return linear_cycles(
        peak, config.lr_floor, total_steps, config.warmup_steps, config.lr_cycle, max(start, 0)
    )


def make_optimizer(
    config: OptimizerConfig,
    pruning: Pruning | None,
    total_steps: int,
    hyperparameters: Hyperparameters | None = None,
) -> optax.GradientTransformation:
    """Chain over ``{"params": ..., "scores": ...}``; other collections get zero updates.

    freeze → score penalty → clip → Adam per group (weights, no-decay, scores) → sparsity schedule,
    the optimiser of Sanh et al. 2020 (section 5). One linear warm-up and decay multiplies every
    learning rate; that of the weights may have cycles and a floor, see :func:`weight_schedule`.

    Args:
      config: hyperparameters.
      pruning: rule and structure, or None for plain fine-tuning (``scores`` is then {}).
      total_steps: T, the steps of the run, of every schedule.
      hyperparameters: values that replace those of ``config``, possibly traced.

    Raises:
      ValueError: the warm-ups leave no room for the sparsity ramp, or the last change of held masks
        comes before its end; the rule has no density that ``score_optimizer`` or ``first_density``
        could be for. From ``init``: ``config.frozen`` matches no parameter.
    """
    values = hyperparameters or config.hyperparameters()
    if pruning is not None and not isinstance(pruning, Pruning):  # pyright: ignore
        raise ValueError(f"pruning is {pruning!r}; give a mpjax.Pruning, or None for no pruning")
    if pruning is not None:
        _check_rule(config, pruning.rule, values)
    pattern = compiled(config.frozen, "frozen")

    def frozen(path: str) -> bool:
        return config.frozen != "" and pattern.fullmatch(path) is not None

    def adam(rate: Schedule, decay: float) -> optax.GradientTransformation:
        return optax.adamw(rate, b1=0.9, b2=0.999, eps=config.adam_eps, weight_decay=decay)

    rate = weight_schedule(config, values.learning_rate, total_steps)
    peak = 0.0 if values.score_learning_rate is None else values.score_learning_rate
    score_rate = linear_warmup_decay(peak, total_steps, config.warmup_steps)
    scores = {
        "adam": lambda: adam(score_rate, 0.0),
        "sgd": lambda: optax.sgd(score_rate),
        "sensitivity": lambda: sensitivity(config.score_beta),
        "platon": lambda: platon(config.score_beta),
    }

    groups: dict[Hashable, optax.GradientTransformation] = {
        FROZEN: optax.set_to_zero(),
        NO_DECAY: adam(rate, 0.0),
        WEIGHTS: adam(rate, config.weight_decay),
        SCORES: scores[config.score_optimizer](),
    }
    partition = optax.partition(groups, lambda tree: _groups(tree, config.frozen, frozen))
    clip = clip_grad_norm(config.max_grad_norm)
    if pruning is None:
        return optax.chain(freeze_params(frozen), skip_not_finite(optax.chain(clip, partition)))
    if pruning.structure.parts and config.score_optimizer in IMPORTANCES:
        clip = optax.chain(clip, per_weight(pruning))
    descent = skip_not_finite(optax.chain(clip, partition))
    freeze, rule, first = freeze_params(frozen), pruning.rule, config.first_step
    if rule.is_steered:
        funnel = make_funnel(config, rule, total_steps, values)
        trained = optax.chain(freeze, descent)
        tx = steer_density(trained, pruning, funnel, total_steps, first_step=first)
    else:
        threshold, lam = schedules(config, rule, total_steps, values)
        penalty = (
            [add_score_penalty(pruning.penalty, lam, first_step=first)] if rule.has_penalty else []
        )
        schedule = sparsity_schedule(threshold, lam, first_step=first)
        tx = optax.chain(freeze, *penalty, descent, schedule)
    if config.prune_every == 1:
        return tx
    _check_last_cut(config, total_steps)
    due = cut_is_due(config.prune_every, total_steps, first, config.first_cut)
    return hold_masks(tx, pruning, due, values.density)


def _known(value: Any) -> float | None:
    """Number of an option; None for one that is not given, or traced."""
    concrete = isinstance(value, Real | np.ndarray | jax.Array)
    return float(value) if concrete and not isinstance(value, Tracer) else None


def _check_rule(config: OptimizerConfig, rule: Rule, values: Hyperparameters) -> None:
    """Raises `ValueError` for options that mean nothing, or another thing, with a rule."""
    ranks = rule.is_density and not rule.has_penalty
    if config.score_optimizer in IMPORTANCES and rule.has_scores and not ranks:
        raise ValueError(
            f"score_optimizer {config.score_optimizer!r} sets scores to an importance, which "
            f"needs a cut by density and no penalty; use movement, not {rule.name} with "
            f"regularization {rule.regularization!r}"
        )
    if config.first_density is None:
        return
    first, given = config.first_density, values.final_threshold
    if not rule.is_density and not rule.is_steered:
        raise ValueError(f"first_density is {first}, and {rule.name} is given no density")
    final = _known(rule.final_density if given is None else given)
    if final is not None and first < final:
        raise ValueError(f"first_density is {first}, below the final density {final}; raise it")


def _check_last_cut(config: OptimizerConfig, total_steps: int) -> None:
    """Raises `ValueError` where held masks would never be cut to the final density."""
    first, every = config.first_step, config.prune_every
    cut = last_cut(every, total_steps, first, config.first_cut)
    ramp_end = math.ceil(total_steps - config.final_warmup * config.warmup_steps)
    end = min(ramp_end, first + total_steps - 1)
    if cut < end:
        raise ValueError(
            f"masks that change every {every} steps change at step {cut} for the last time, and "
            f"the ramp of the density ends at step {end}: the final density would be missed. Lower "
            "prune_every, or raise warmup_steps or final_warmup"
        )


def _groups(variables: Any, pattern: str, frozen: Callable[[str], bool]) -> Any:
    """`labels`; `ValueError` where a pattern of frozen parameters matches nothing."""
    found = labels(variables, frozen)
    if pattern and FROZEN not in jax.tree.leaves(found["params"]):
        some = ", ".join(names(list(leaves_by_keys(variables["params"]))[:3]))
        raise ValueError(f"frozen is {pattern!r} and matches no parameter, such as {some}")
    return found


def labels(variables: Any, frozen: Callable[[str], bool]) -> Any:
    """Optimiser group of every leaf: frozen, no_decay (biases and norms), weights or scores.

    Parameters of one axis are taken for biases and norms. Collections other than
    ``params`` and ``scores`` are frozen.

    >>> labels({"params": {"kernel": 1, "bias": 2}, "batch_stats": {"mean": 4}},
    ...        lambda path: False)
    {'params': {'bias': 'no_decay', 'kernel': 'weights'}, 'batch_stats': {'mean': 'frozen'}}
    """

    def label(path: str, leaf: Any) -> str:
        if frozen(path):
            return FROZEN
        last = path.rpartition("/")[2]
        plain = last in UNDECAYED or last.startswith("bias") or jnp.ndim(leaf) == 1
        return NO_DECAY if plain else WEIGHTS

    own = {"params": map_named(label, variables["params"])}
    if "scores" in variables:
        own["scores"] = jax.tree.map(lambda _: SCORES, variables["scores"])
    others = {name: tree for name, tree in variables.items() if name not in own}
    return with_parts(variables, **own, **jax.tree.map(lambda _: FROZEN, others))
