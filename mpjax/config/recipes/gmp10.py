"""GMP* in 10 epochs (arXiv 2210.06384): 2 of them dense, 6 with two prunings each, 2 to recover."""

from mpjax.config.recipe import Recipe
from mpjax.config.recipes.gmp import RECIPE as LONG

RECIPE = Recipe(
    summary="magnitude, global, a pruning every half epoch from 2 to 8; the rate restarts once",
    source="GMP* in 10 epochs (arXiv 2210.06384); half an epoch of warm-up is ours; its GLUE runs "
    "have --lr-floor 2e-5, 6 layers --first-density 0.7",
    options={
        **LONG.options,
        "epochs": 10.0,
        "warmup": 0.5 / 10,
        "initial_warmup": 4.0,
        "final_warmup": 4.0,
        "prune_every": 0.5 / 10,
        "lr_floor": 3e-5,
        "lr_cycle": 2 / 10,
        "lr_start": 8 / 10,
    },
    with_teacher=LONG.with_teacher,
)
