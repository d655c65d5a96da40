"""Gradual magnitude pruning as tuned by Kurtic and Alistarh (GMP*, arXiv 2210.06384)."""

from mpjax.config.recipe import Recipe

# In epochs of 30: pruning at 2, 6, ..., 26, at first to 70% sparse; the peak rate after each.
# A run needs 120 steps or more: below, the warm-up of whole steps shifts the prunings too much.
RECIPE = Recipe(
    summary="magnitude, global, 7 prunings in 30 epochs; the learning rate restarts at each",
    source="Kurtic and Alistarh 2022, GMP* (arXiv 2210.06384); half an epoch of warm-up is ours",
    options={
        "method": "magnitude",
        "scope": "global",
        "epochs": 30.0,
        "warmup": 0.5 / 30,
        "initial_warmup": 4.0,
        "final_warmup": 8.0,
        "prune_every": 4 / 30,
        "first_density": 0.3,
        "learning_rate": 8e-5,
        "lr_floor": 8e-6,
        "lr_cycle": 4 / 30,
    },
    with_teacher={"alpha_ce": 0.0, "alpha_distil": 1.0, "temperature": 2.0},
    measured="MiniLM in 3 epochs: SST-2 77.5 at 10%, 75.1 at 3% (dense 85.7)",
)
