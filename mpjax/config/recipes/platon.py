"""PLATON (Zhang et al. 2022): sensitivity times uncertainty, one cut over all matrices."""

from mpjax.config.recipe import Recipe

RECIPE = Recipe(
    summary="scores are sensitivity x uncertainty; global cut every 10 steps; all weights learn",
    source="Zhang et al. 2022 (arXiv 2206.12562)",
    options={
        "method": "movement",
        "scope": "global",
        "score_optimizer": "platon",
        "prune_every": 10,
        "dense_gradient": True,
        "learning_rate": 1.5e-4,
    },
    measured="MiniLM, with --learning-rate 3e-4: SST-2 83.8 at 10% (dense 85.7)",
)
