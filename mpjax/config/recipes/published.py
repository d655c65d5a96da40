"""Settings of the published movement-pruning runs: the defaults of the options but for one."""

from mpjax.config.recipe import Recipe

RECIPE = Recipe(
    summary="settings of the published runs: Adam on the scores, local cut, cubic ramp",
    source="Sanh et al. 2020 (arXiv 2005.07683) and its published code",
    options={"mask_init": "constant"},
    measured="MiniLM, soft_movement with --learning-rate 8e-5 --score-learning-rate 2e-2: "
    "SST-2 81.9 at 6.4% (dense 85.7), MNLI 57.9 at 6.6% (65.9)",
)
