"""Task losses by kind of head; means over examples, as in the published trainers."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Num

Loss = Callable[[jax.Array, Mapping[str, jax.Array]], jax.Array]
IGNORED = -100  # label of a token that is not predicted, as in the Hugging Face collators


def classification_loss(
    logits: Float[Array, "batch classes"], batch: Mapping[str, jax.Array]
) -> Float[Array, ""]:
    """Mean cross-entropy of (B, C) logits against int ``labels`` (B,)."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]))


def regression_loss(
    logits: Float[Array, "batch 1"], batch: Mapping[str, jax.Array]
) -> Float[Array, ""]:
    """Mean squared error of (B, 1) logits against float ``labels`` (B,)."""
    return jnp.mean(jnp.square(logits[:, 0] - batch["labels"].astype(logits.dtype)))


def qa_loss(
    logits: Float[Array, "batch length 2"], batch: Mapping[str, jax.Array]
) -> Float[Array, ""]:
    """Mean cross-entropy of start and end over the positions of (B, L, 2) logits, their average."""
    losses = [
        jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits[:, :, i], batch[name]))
        for i, name in enumerate(("start_positions", "end_positions"))
    ]
    return (losses[0] + losses[1]) / 2


def mlm_loss(
    logits: Float[Array, "batch length vocabulary"], batch: Mapping[str, jax.Array]
) -> Float[Array, ""]:
    """Mean cross-entropy of (B, L, V) logits over the tokens whose label is not -100."""
    labels = batch["labels"]
    kept = (labels != IGNORED).astype(logits.dtype)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return jnp.sum(losses * kept) / jnp.maximum(jnp.sum(kept), 1)


LOSSES: dict[str, Loss] = {
    "classification": classification_loss,
    "regression": regression_loss,
    "tokens": mlm_loss,  # classes in place of a vocabulary
    "qa": qa_loss,
    "mlm": mlm_loss,
}


def weighted_loss(weights: Sequence[float]) -> Loss:
    """Cross-entropy with a weight per class: mean of w[label]·CE over rows, or labelled tokens.

    Divided by the number of terms rather than by the sum of their weights, so that microbatches
    add up to the batch. Balanced weights have mean 1 over the training set.

    >>> import jax.numpy as jnp
    >>> loss = weighted_loss((0.5, 2.0))
    >>> round(float(loss(jnp.zeros((2, 2)), {"labels": jnp.array([0, 1])})) / 0.6931, 2)
    1.25
    """

    def weighted(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        labels = batch["labels"]
        kept = labels != IGNORED
        own = jnp.maximum(labels, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, own)
        each = jnp.asarray(weights, logits.dtype)[own] * kept.astype(logits.dtype)
        return jnp.sum(losses * each) / jnp.maximum(jnp.sum(kept), 1)

    return weighted


def terms(batch: Mapping[str, jax.Array]) -> Num[Array, ""]:
    """Number of terms in the mean of a loss: predicted tokens for (B, L) labels, else rows.

    >>> import jax.numpy as jnp
    >>> int(terms({"labels": jnp.array([[3, -100], [-100, -100]])}))
    1
    """
    labels = batch.get("labels")
    if labels is not None and labels.ndim == 2:
        return jnp.sum(labels != IGNORED)
    return jnp.asarray(len(next(iter(batch.values()))))


def task_loss(head: str, weights: Sequence[float] | None = None) -> Loss:
    """Loss of a head, with `weighted_loss`: (logits, batch) to a scalar in the logits' dtype.

    >>> import jax.numpy as jnp
    >>> loss = task_loss("classification")
    >>> round(float(loss(jnp.zeros((1, 2)), {"labels": jnp.array([1])})), 4)
    0.6931
    """
    return LOSSES[head] if weights is None else weighted_loss(weights)


def distillation_loss(
    head: str,
    *,
    temperature: float = 2.0,
    alpha_ce: float = 0.1,
    alpha_distil: float = 0.9,
    weights: Sequence[float] | None = None,
) -> Loss:
    """α_ce·loss + α_distil·D, against ``teacher_logits`` of the logits' shape in the batch.

    D is T²·KL(teacher ‖ student) at temperature T, summed over classes and averaged over the batch
    ("batchmean"); for (B, L, 2) logits over positions, start and end averaged, as published; for
    tokens averaged over the labelled ones. A regression has one output and no distribution: D is
    then the mean squared difference.

    >>> import jax.numpy as jnp
    >>> loss, logits = distillation_loss("classification"), jnp.zeros((1, 2))
    >>> batch = {"labels": jnp.array([1]), "teacher_logits": logits}
    >>> round(float(loss(logits, batch)), 4)  # the teacher agrees: 0.1·ln 2 is left
    0.0693
    """
    loss = task_loss(head, weights)

    def distilled(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        teacher = batch["teacher_logits"].astype(logits.dtype)
        if head == "regression":
            gap = jnp.mean(jnp.square(logits - teacher))
            return alpha_ce * loss(logits, batch) + alpha_distil * gap
        axis = 1 if head == "qa" else -1
        student_log = jax.nn.log_softmax(logits / temperature, axis=axis)
        teacher_log = jax.nn.log_softmax(teacher / temperature, axis=axis)
        kl = jnp.sum(jnp.exp(teacher_log) * (teacher_log - student_log), axis=axis)
        if head == "tokens":
            kept = (batch["labels"] != IGNORED).astype(kl.dtype)
            mean = jnp.sum(kl * kept) / jnp.maximum(jnp.sum(kept), 1)
        else:
            mean = jnp.mean(kl)
        return alpha_ce * loss(logits, batch) + alpha_distil * temperature**2 * mean

    return distilled
