"""Options of a run about own data, as tasks take them."""

from __future__ import annotations

from mpjax.config.train import TrainConfig
from mpjax.tasks.base import DataOptions


def data_options(config: TrainConfig) -> DataOptions:
    """Columns, split and primary score of a config."""
    return DataOptions(
        config.text, config.label, config.dev_share, config.split_seed, config.metric
    )
