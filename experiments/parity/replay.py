"""Replay of a recorded run in float64, with the largest difference of every quantity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.parity.case import Case
from experiments.parity.rules import ValueCut, case_rule, published_cut
from experiments.parity.shapes import check_arrays
from mpjax.errors import InputError
from mpjax.models import GROUPS, PRUNABLE, encoder, to_torch_names
from mpjax.optim import (
    OptimizerConfig,
    add_score_penalty,
    make_optimizer,
    pruning_state,
    schedules,
)
from mpjax.pruning import Pruning, Tree, flatten
from mpjax.training.losses import Loss, distillation_loss, task_loss
from mpjax.training.predict import apply_model
from mpjax.training.step import make_gradients

TOLERANCE = 1e-9
COLUMNS: tuple[str, ...] = (
    "threshold", "lambda", "loss", "logits", "gradients", "parameters", "scores", "masks"
)  # fmt: skip


class Step(NamedTuple):
    """One replayed step: schedule and variables before it, results of it, variables after it."""

    threshold: jax.Array
    lam: jax.Array
    before: Any
    after: Any
    task_loss: jax.Array
    penalty: jax.Array
    masks: Tree
    logits: jax.Array
    grads: Any


class Gaps:
    """Largest absolute difference by column, and the number of differing mask entries."""

    def __init__(self) -> None:
        self.worst: dict[str, float] = dict.fromkeys(COLUMNS, 0.0)

    def note(self, column: str, ours: Any, theirs: Any) -> None:
        """Raises a column to the largest difference of two arrays."""
        gap = np.max(np.abs(np.asarray(ours) - np.asarray(theirs)), initial=0.0)
        # A NaN on either side is not agreement.
        self.worst[column] = max(
            self.worst[column], float(gap) if np.isfinite(gap) else float("inf")
        )

    def note_masks(self, ours: Tree, theirs: Tree) -> None:
        """Adds the entries in which masks differ from the recorded ones."""
        made = flatten(ours)
        self.worst["masks"] += sum(
            int(np.sum(np.asarray(made[path]) != np.asarray(mask)))
            for path, mask in flatten(theirs).items()
        )


def replay(case: Case) -> dict[str, float]:
    """Runs the case in float64; the largest absolute difference by column, and differing masks."""
    pruning, optimizer = prepared(case)
    gaps, variables = Gaps(), None
    for index, step in enumerate(_steps(case, pruning, optimizer)):
        _compare_step(case, index, step, gaps)
        if index == 0:
            _compare_gradients(case, pruning, optimizer, step, gaps)
        variables = step.after
    _compare_final(case, variables, gaps)
    return gaps.worst


def prepared(case: Case) -> tuple[Pruning, OptimizerConfig]:
    """Pruning and hyperparameters of a case whose settings and arrays fit each other.

    Raises:
      InputError: they do not, or the schedule has no room in the steps of the case.
    """
    try:
        pruning = Pruning(case_rule(case.settings), PRUNABLE)
        optimizer = case_optimizer(case.settings)
        check_arrays(case, pruning.rule.has_scores)
        make_optimizer(optimizer, pruning, case.settings["steps"])
    except InputError:
        raise
    except ValueError as error:  # of the library's constructors, one sentence each
        raise InputError(f"{case.path}: {error}") from error
    return pruning, optimizer


def passes(row: Mapping[str, float]) -> bool:
    """Whether every difference is rounding and no mask entry differs."""
    return all(row[c] == 0 if c == "masks" else row[c] <= TOLERANCE for c in COLUMNS)


def case_optimizer(settings: Mapping[str, Any]) -> OptimizerConfig:
    """Hyperparameters of a recorded run."""
    return OptimizerConfig(
        learning_rate=settings["learning_rate"],
        score_learning_rate=settings["mask_scores_learning_rate"],
        weight_decay=settings["weight_decay"],
        adam_eps=settings["adam_eps"],
        max_grad_norm=settings["max_grad_norm"],
        warmup_steps=settings["warmup_steps"],
        initial_warmup=settings["initial_warmup"],
        final_warmup=settings["final_warmup"],
        final_lambda=settings["final_lambda"],
        first_step=settings["first_step"],
        frozen=GROUPS["embeddings"],
    )


def case_loss(case: Case) -> Loss:
    """Loss of a recorded run: the task's, or with a teacher the distilled one."""
    distil = case.settings["distillation"]
    if not distil:
        return task_loss(case.head)
    return distillation_loss(
        case.head,
        temperature=distil["temperature"],
        alpha_ce=distil["alpha_ce"],
        alpha_distil=distil["alpha_distil"],
    )


def _steps(case: Case, pruning: Pruning, optimizer: OptimizerConfig) -> Iterator[Step]:
    """Steps of a case, from its recorded start, batches and gate noise."""
    tx = make_optimizer(optimizer, pruning, case.settings["steps"])
    update = _make_update(case, pruning, tx)
    scores = case.per_kernel("init", ".mask_scores")
    variables: Any = {"params": case.params("init"), "scores": scores}
    opt_state, cut = tx.init(variables), None
    every = case.settings.get("global_topk_frequency")
    for index, record in enumerate(case.settings["log"]):
        now = pruning_state(opt_state)
        assert now is not None
        noise = case.per_kernel(f"uniform/{index}", "") or None
        threshold: Any = now.threshold
        if isinstance(pruning.rule, ValueCut) and every:
            density = float(now.threshold)
            if cut is None or density == 1.0 or record["step"] % every == 0:
                cut = published_cut(variables["scores"], density)
            threshold = cut
        before = variables
        variables, opt_state, *results = update(
            variables, opt_state, case.batch(index), threshold, noise
        )
        yield Step(now.threshold, now.lam, before, variables, *results)


def _make_update(
    case: Case, pruning: Pruning, tx: optax.GradientTransformation
) -> Callable[..., tuple[Any, ...]]:
    """Compiles a step that gives the gradients, masks and logits away too."""
    module = encoder(case.config, case.head, dtype=jnp.float64, param_dtype=jnp.float64)
    teacher = case.params("teacher") if case.settings["distillation"] else None
    gradients = make_gradients(module, pruning, case_loss(case))

    @jax.jit
    def update(variables, opt_state, batch, threshold, noise):
        if teacher is not None:
            batch = {**batch, "teacher_logits": apply_model(module, teacher, batch)}
        (value, (masks, logits)), grads = gradients(variables, batch, threshold, None, noise)
        updates, opt_state = tx.update(grads, opt_state, variables)
        penalty = pruning.penalty(variables["scores"])
        new: Any = optax.apply_updates(variables, updates)
        return new, opt_state, value, penalty, masks, logits, grads

    return update


def _compare_step(case: Case, index: int, step: Step, gaps: Gaps) -> None:
    """Schedule, loss, logits and masks of a step beside the recorded ones."""
    record = case.settings["log"][index]
    gaps.note("threshold", step.threshold, record["threshold"])
    gaps.note("lambda", step.lam, record["lam"])
    gaps.note("loss", step.task_loss + step.lam * step.penalty, record["loss"])
    logits = step.logits
    outputs = [logits] if case.head == "classification" else [logits[..., 0], logits[..., 1]]
    for i, ours in enumerate(outputs):
        if f"logits/{index}/{i}" in case.arrays:
            gaps.note("logits", ours, case.arrays[f"logits/{index}/{i}"])
    gaps.note_masks(step.masks, case.per_kernel(f"mask/{index}", ""))


def _compare_gradients(
    case: Case, pruning: Pruning, optimizer: OptimizerConfig, step: Step, gaps: Gaps
) -> None:
    """First gradients before clipping, the penalty's included, as PyTorch's ``loss.backward()``."""
    grads = step.grads
    if pruning.rule.has_penalty:
        _, lam = schedules(optimizer, pruning.rule, case.settings["steps"])
        penalty = add_score_penalty(pruning.penalty, lam, first_step=optimizer.first_step)
        grads: Any = penalty.update(grads, penalty.init(step.before), step.before)[0]
    recorded = case.tensors("grad0")
    ours = to_torch_names(grads["params"], case.config, case.head)
    for name, theirs in recorded.items():
        if name in ours:
            gaps.note("gradients", ours[name], theirs)
    theirs = flatten(case.per_kernel("grad0", ".mask_scores"))
    for path, gradient in flatten(grads["scores"]).items():
        gaps.note("gradients", gradient, theirs[path])


def _compare_final(case: Case, variables: Any, gaps: Gaps) -> None:
    """Parameters and scores after the last step beside the recorded ones."""
    final = to_torch_names(variables["params"], case.config, case.head)
    for name, theirs in case.tensors("final").items():
        if name in final:
            gaps.note("parameters", final[name], theirs)
        elif not name.endswith(".mask_scores"):  # a pooler that this head does not have
            gaps.note("parameters", case.arrays[f"init/{name}"], theirs)
    theirs = flatten(case.per_kernel("final", ".mask_scores"))
    for path, ours in flatten(variables["scores"]).items():
        gaps.note("scores", ours, theirs[path])
