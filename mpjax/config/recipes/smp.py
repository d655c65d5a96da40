"""Static model pruning (Jiang et al. 2022, arXiv 2210.06210): scores are all that is trained."""

from mpjax.config.recipe import Recipe

# λ(t) = 400·τ(t)/0.1 with τ rising to 0.1, as in the published code. Its head, the pretrained one
# over label words, is not here: a fine-tuned head is frozen instead.
RECIPE = Recipe(
    summary="frozen weights and head, trained scores; --model is a dense run's folder model",
    source="Jiang et al. 2022, SMP (arXiv 2210.06210); its head over label words is not here",
    options={
        "method": "movement",
        "mask_init": "constant",
        "scope": "type",
        "regularization": "l1",
        "final_lambda": 400.0,
        "lambda_ramp": "rising",
        "freeze": "weights,head",
        "score_learning_rate": 2e-2,
        "batch_size": 64,
        "epochs": 10.0,
    },
    with_teacher={"alpha_ce": 0.5, "alpha_distil": 0.5, "temperature": 2.0},
)
