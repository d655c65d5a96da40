"""Options of `mpjax train` in one frozen dataclass.

The fields are the command line: `--final-lambda` is `final_lambda`. Help texts stand beside the
defaults, so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any


def _option(default: Any, help: str, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, **more})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One fine-pruning run. `None` = decided by the method, see `resolve`.

    >>> from mpjax.config.resolve import resolve
    >>> config = TrainConfig(model="bert", task="sst2", output="runs/one", method="movement",
    ...                      density=0.1)
    >>> resolve(config).final_threshold
    0.1
    """

    model: str = _option(
        "", "model folder, packed model, or name on the Hugging Face hub (required)"
    )
    task: str = _option("", "task; an unknown name lists the known ones (required)")
    data: str | None = _option(
        None,
        "folder or file of the task's data, or hub:OWNER/NAME[:CONFIG] for own data on the hub "
        "(default: the hub; demo_* tasks generate theirs)",
    )
    text: str | None = _option(
        None,
        "own data: column of the text, or two with a comma between them, of questions passage and "
        "question (default: the one column of a usual name)",
    )
    label: str | None = _option(
        None, "own data: column of the label (default: the one column of a usual name)"
    )
    dev_share: float = _option(
        0.1, "own data without a dev file: share of the rows to evaluate on instead of training"
    )
    split_seed: int = _option(0, "own data without a dev file: seed of the choice of these rows")
    metric: str | None = _option(
        None,
        "own data: primary score, by which the best checkpoint is chosen: accuracy, macro_f1, f1, "
        "matthews, pearson, spearman, exact_match (default: the task's)",
    )
    class_weights: str | None = _option(
        None,
        "weights of the classes in the loss: balanced = rows / (classes x rows of the class)",
        choices=("balanced",),
    )
    repair: bool = _option(
        False,
        "mend faults of question files where that is certain, and leave out other faulty questions",
    )
    output: str = _option("", "run folder; the same command again continues it (required)")
    method: str = _option("soft_movement", "pruning rule, or dense for plain fine-tuning")
    rule_option: str | None = _option(
        None,
        "further fields of the rule of a plugin, as name=value; several with commas",
        several=True,
    )
    plugin: str | None = _option(
        None,
        "importable module with rules, tasks or structures, as my_package.my_module; several with "
        "commas",
        several=True,
    )
    density: float | None = _option(None, "fraction of the prunable weights to keep, in (0, 1]")
    final_lambda: float | None = _option(
        None,
        "final weight of the score penalty, higher is sparser: soft_movement and l0, instead of "
        "--density, to which it is steered otherwise",
    )
    lambda_ramp: str = _option(
        "threshold",
        "weight of the score penalty in training: it follows the threshold, or rises from 0 along "
        "the ramp (rising)",
        choices=("threshold", "rising"),
    )
    regularization: str | None = _option(
        None,
        "penalty on the scores (default: soft_movement l1, l0 l0, others none)",
        choices=("none", "l1", "l0"),
    )
    structure: str = _option(
        "element",
        "weights that share one score: element, rows, columns (of inputs x outputs), "
        "block:ROWSxCOLUMNS, heads, hybrid (blocks in attention, whole units in the feed-forward "
        "layers), N:M such as 2:4, or attention=ONE,ffn=ANOTHER",
    )
    fill_from: str | None = _option(
        None,
        "finished run to start from: its surviving heads and feed-forward units get all their "
        "weights back and are fine-tuned further, with --method dense",
    )
    lambda_attention: float = _option(1.0, "factor of --final-lambda for attention scores")
    lambda_ffn: float = _option(1.0, "factor of --final-lambda for feed-forward scores")
    scope: str = _option(
        "local",
        "rank scores within each matrix (local) or over all matrices (global), by weights "
        "where scores cover several; type (movement only): within each matrix, with the "
        "density divided among the layers by mean sigmoid(score)",
        choices=("local", "global", "type"),
    )
    initial_threshold: float | None = _option(
        None, "threshold at the start (default 1: keep all; soft_movement 0)"
    )
    final_threshold: float | None = _option(
        None, "threshold at the end (default: the density; soft_movement 0.1)"
    )
    published_cut: bool = _option(
        False,
        "with --scope global, cut as the published code does: one weight more, and at least half a "
        "percent of every matrix",
    )
    teacher: str | None = _option(
        None, "fine-tuned model folder, run or hub name to distil from (its logits are made once)"
    )
    temperature: float | None = _option(None, "distillation temperature (default: 2)")
    alpha_ce: float | None = _option(None, "weight of the task loss in distillation (default: 0.1)")
    alpha_distil: float | None = _option(None, "weight of the distillation loss (default: 0.9)")
    epochs: float = _option(3.0, "epochs over the training rows")
    steps: int | None = _option(None, "optimizer steps, instead of --epochs")
    batch_size: int = _option(32, "rows per step")
    max_length: int = _option(128, "tokens per row; longer rows are truncated")
    single_length: bool = _option(
        False, "pad every batch to --max-length: one compilation, more padding"
    )
    learning_rate: float = _option(3e-5, "peak learning rate of weights, biases and norms")
    score_learning_rate: float | None = _option(
        None, "peak learning rate of the scores (default 0.01; l0 0.1)"
    )
    lr_cycle: float | None = _option(
        None,
        "steps, or below 1 a fraction of the run, in which the learning rate of the weights falls "
        "from its peak to --lr-floor before it starts again; cycles start with the pruning",
    )
    lr_floor: float = _option(
        0.0, "learning rate of the weights at the end of a cycle, or of the run"
    )
    weight_decay: float = _option(0.0, "decoupled weight decay of the weights")
    warmup: float = _option(0.1, "learning-rate warm-up: steps, or below 1 a fraction of the run")
    score_optimizer: str = _option(
        "adam",
        "optimizer of the scores; sensitivity and platon (movement only) set them to a running "
        "importance |w x gradient| instead of descending",
        choices=("adam", "sgd", "sensitivity", "platon"),
    )
    prune_every: float = _option(
        1,
        "steps between two changes of the masks, fewer in a run too short for it; or below 1 a "
        "fraction of the run, rounded so that the first change is at the start of the ramp and the "
        "last at its end",
    )
    first_density: float | None = _option(
        None,
        "density of the first cut, where the ramp begins (default: the ramp begins at 1)",
    )
    dense_gradient: bool = _option(
        False,
        "weights outside the mask go on learning, by the gradient they would have inside",
    )
    initial_warmup: float = _option(1.0, "pruning starts after this many warm-ups")
    final_warmup: float = _option(2.0, "pruning ends this many warm-ups before the end")
    first_step: int = _option(
        0, "step number of the first update in the sparsity schedule; the published SQuAD runs: 1"
    )
    train_embeddings: bool = _option(False, "train the embeddings too, as pretraining needs")
    freeze: str | None = _option(
        None,
        "parameters that are not trained: weights (matrices, biases and norms of the encoder), "
        "head, or weights,head; scores are trained in any case",
    )
    clip: float = _option(1.0, "maximum global gradient norm; 0 = no clipping")
    mask_init: str = _option(
        "constant", "initial scores", choices=("constant", "uniform", "kaiming")
    )
    mask_scale: float | None = _option(
        None, "value or half-width of the initial scores (default 0; l0 2.197)"
    )
    seed: int = _option(0, "seed of new weights, data order and dropout")
    dtype: str = _option(
        "float32", "compute dtype; parameters stay float32", choices=("float32", "bfloat16")
    )
    accumulate: int = _option(
        1, "microbatches per batch, computed in turn to fit a large batch into memory"
    )
    devices: int | None = _option(None, "use the first N devices only (default: all)")
    mesh: str | None = _option(
        None,
        "device mesh, as data=4,fsdp=2,tensor=2: batch rows are split over data and fsdp, "
        "weights, scores and optimizer state over fsdp and tensor (default: data only)",
    )
    remat: bool = _option(
        False, "rematerialise every layer in the backward pass: less memory, more time"
    )
    scan_layers: bool = _option(
        False, "compile one layer and scan over it: compiles faster, same results"
    )
    limit_train: int | None = _option(
        None, "train on N rows: the first N after random.Random(0).shuffle of the file's rows"
    )
    limit_eval: int | None = _option(None, "evaluate on the first N rows of the dev file")
    eval_batch_size: int = _option(64, "rows per step of evaluation")
    eval_every: int | None = _option(None, "evaluate every N steps (default: at the end only)")
    tensorboard: bool = _option(False, "also write the metrics as TensorBoard events")
    log_every: int = _option(10, "write a line of metrics.jsonl every N steps")
    checkpoint_every: int = _option(500, "save a checkpoint every N steps")
    keep: int = _option(2, "newest checkpoints to keep; the one with the best dev score stays too")
    strict: bool = _option(
        False, "refuse a damaged checkpoint instead of continuing from the one before"
    )
    on_nan: str = _option(
        "stop",
        "at a loss or gradients that are not finite: stop, or skip that update",
        choices=("stop", "skip"),
    )
    max_skipped: int = _option(10, "updates that --on-nan skip may skip in a run")
    continue_with: str | None = _option(
        None,
        "go on from the last checkpoint with other values, as learning-rate=1e-5,clip=0.5; give "
        "the other options as before",
    )
    cache: str | None = _option(
        None,
        "folder for compiled programs and tokenised data; none = no cache "
        "(default: $MPJAX_CACHE or ~/.cache/mpjax)",
    )
