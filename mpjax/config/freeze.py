"""Groups of parameters that `--freeze` names, and its checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

EMBEDDINGS, WEIGHTS, HEAD = "embeddings", "weights", "head"


def frozen_groups(config: TrainConfig) -> tuple[str, ...]:
    """Groups of parameters that are not trained.

    Raises:
      InputError: an unknown word.

    >>> frozen_groups(TrainConfig(freeze="weights,head"))
    ('embeddings', 'weights', 'head')
    """
    words = [] if config.freeze is None else [word.strip() for word in config.freeze.split(",")]
    for word in words:
        if word not in (WEIGHTS, HEAD):
            raise InputError(
                f"--freeze {config.freeze}: {word!r} is no group of parameters; give {WEIGHTS}, "
                f"{HEAD} or {WEIGHTS},{HEAD} (embeddings are frozen unless --train-embeddings)"
            )
    return (*(() if config.train_embeddings else (EMBEDDINGS,)), *dict.fromkeys(words))


def check_freeze(config: TrainConfig, rule: type[Rule] | None) -> None:
    """Raises `InputError` for an unknown word, or if nothing is left to train.

    Args:
      rule: rule of the method, None for plain fine-tuning.
    """
    everything = {EMBEDDINGS, WEIGHTS, HEAD} == set(frozen_groups(config))
    if everything and (rule is None or not rule.has_scores):
        raise InputError(
            f"--freeze {config.freeze} leaves nothing to train with --method {config.method}, "
            "which has no scores; freeze one of the two, or use --method movement"
        )
