"""Moving average of |w · ∂L/∂w| as scores: PLATON without uncertainty and held masks."""

from mpjax.config.recipe import Recipe

RECIPE = Recipe(
    summary="scores are a moving average of |w x gradient|; global cut at every step; all learn",
    source="PLATON (Zhang et al. 2022, arXiv 2206.12562) without uncertainty and held masks",
    options={
        "method": "movement",
        "scope": "global",
        "score_optimizer": "sensitivity",
        "score_beta": 0.95,  # PLATON: 0.85, cut every 10 steps; so SQuAD at 3% lost 8 F1 more
        "dense_gradient": True,
        # The ramp of the defaults, from 10% to 80% of the run, and a rate that rises for 40%: a
        # dense model bears less of it than one of which most weights are cut.
        "learning_rate": 4e-4,
        "warmup": 0.4,
        "initial_warmup": 0.25,
        "final_warmup": 0.5,
    },
    measured="MiniLM: SST-2 83.8 at 10%, 83.8 at 3% (dense 85.8), MNLI 63.8, 62.7 (66.0), "
    "SQuAD F1 50.9, 38.4 (62.2)",
)
