"""Static model pruning (Jiang et al. 2022, arXiv 2210.06210): scores are all that is trained."""

from mpjax.config.recipe import Recipe

# λ(t) = 400·τ(t)/0.1 with τ rising to 0.1, and the pretrained masked-LM head on label words, as in
# the published code; a folder with a fine-tuned head keeps that one. The published script of MNLI
# trains with the label order of its teacher, so that entailment is "Maybe"; here it is "Yes".
RECIPE = Recipe(
    summary="frozen weights and head, trained scores; the head is label words of the masked LM",
    source="Jiang et al. 2022, SMP (arXiv 2210.06210)",
    options={
        "method": "movement",
        "mask_init": "constant",
        "scope": "type",
        "regularization": "l1",
        "final_lambda": 400.0,
        "lambda_ramp": "rising",
        "freeze": "weights,head",
        "label_words": "auto",
        "score_learning_rate": 2e-2,
        "batch_size": 64,
        "epochs": 10.0,
    },
    with_teacher={"alpha_ce": 0.5, "alpha_distil": 0.5, "temperature": 2.0},
)
