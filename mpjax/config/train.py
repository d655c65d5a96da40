"""Options of `mpjax train` in one frozen dataclass.

The fields are the command line: `--final-lambda` is `final_lambda`. Help texts stand beside the
defaults, so the two cannot drift apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any

# Topics of options, in the order of the help; the first has the few that a beginner needs.
FIRST = "start with these"
OWN_DATA = "own data"
PRUNING = "pruning"
DISTILLATION = "distillation"
TRAINING = "training"
LOGS = "evaluation and logs"
DEVICES = "devices and memory"
STORAGE = "checkpoints, mishaps and cache"
PLUGINS = "plugins"
TOPICS = (FIRST, OWN_DATA, PRUNING, DISTILLATION, TRAINING, LOGS, DEVICES, STORAGE, PLUGINS)

DTYPES = ("float32", "bfloat16")  # to compute in


def _option(default: Any, help: str, **more: Any) -> Any:
    """Field with the help of its option, its topic, and the unit of its value if it has one."""
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
        "",
        "model folder, packed model, or name on the Hugging Face hub (required)",
        topic=FIRST,
    )
    task: str = _option("", "task; an unknown name lists the known ones (required)", topic=FIRST)
    data: str | None = _option(
        None,
        "folder or file of the task's data, or hub:OWNER/NAME[:CONFIG] for own data on the hub "
        "(default: the hub; demo_* tasks generate theirs)",
        topic=FIRST,
    )
    text: str | None = _option(
        None,
        "own data: column of the text, or two with a comma between them, of questions passage and "
        "question (default: the one column of a usual name)",
        topic=OWN_DATA,
    )
    label: str | None = _option(
        None,
        "own data: column of the label (default: the one column of a usual name)",
        topic=OWN_DATA,
    )
    dev_share: float = _option(
        0.1,
        "own data without a dev file: share of the rows to evaluate on instead of training",
        topic=OWN_DATA,
        unit="SHARE",
    )
    split_seed: int = _option(
        0,
        "own data without a dev file: seed of the choice of these rows",
        topic=OWN_DATA,
        unit="SEED",
    )
    metric: str | None = _option(
        None,
        "own data: primary score, by which the best checkpoint is chosen: accuracy, macro_f1, f1, "
        "matthews, pearson, spearman, exact_match (default: the task's)",
        topic=OWN_DATA,
    )
    class_weights: str | None = _option(
        None,
        "weights of the classes in the loss: balanced = rows / (classes x rows of the class)",
        choices=("balanced",),
        topic=OWN_DATA,
    )
    repair: bool = _option(
        False,
        "mend faults of question files where that is certain, and leave out other faulty questions",
        topic=OWN_DATA,
    )
    output: str = _option(
        "", "run folder; the same command again continues it (required)", topic=FIRST
    )
    method: str = _option(
        "soft_movement", "pruning rule, or dense for plain fine-tuning", topic=PRUNING
    )
    rule_option: str | None = _option(
        None,
        "further fields of the rule of a plugin, as name=value; several with commas",
        several=True,
        topic=PLUGINS,
    )
    plugin: str | None = _option(
        None,
        "importable module with rules, tasks or structures, as my_package.my_module; several with "
        "commas",
        several=True,
        topic=PLUGINS,
    )
    density: float | None = _option(
        None, "fraction of the prunable weights to keep, in (0, 1]", topic=FIRST, unit="SHARE"
    )
    final_lambda: float | None = _option(
        None,
        "final weight of the score penalty, higher is sparser: soft_movement and l0, instead of "
        "--density, to which it is steered otherwise",
        topic=PRUNING,
    )
    lambda_ramp: str = _option(
        "threshold",
        "weight of the score penalty in training: it follows the threshold, or rises from 0 along "
        "the ramp (rising)",
        choices=("threshold", "rising"),
        topic=PRUNING,
    )
    regularization: str | None = _option(
        None,
        "penalty on the scores (default: soft_movement l1, l0 l0, others none)",
        choices=("none", "l1", "l0"),
        topic=PRUNING,
    )
    structure: str = _option(
        "element",
        "weights that share one score: element, rows, columns (of inputs x outputs), "
        "block:ROWSxCOLUMNS, heads, hybrid (blocks in attention, whole units in the feed-forward "
        "layers), N:M such as 2:4, or attention=ONE,ffn=ANOTHER",
        topic=PRUNING,
    )
    fill_from: str | None = _option(
        None,
        "finished run to start from: its surviving heads and feed-forward units get all their "
        "weights back and are fine-tuned further, with --method dense",
        topic=PRUNING,
    )
    lambda_attention: float = _option(
        1.0, "factor of --final-lambda for attention scores", topic=PRUNING
    )
    lambda_ffn: float = _option(
        1.0, "factor of --final-lambda for feed-forward scores", topic=PRUNING
    )
    scope: str = _option(
        "local",
        "rank scores within each matrix (local) or over all matrices (global), by weights "
        "where scores cover several; type (movement only): within each matrix, with the "
        "density divided among the layers by mean sigmoid(score)",
        choices=("local", "global", "type"),
        topic=PRUNING,
    )
    initial_threshold: float | None = _option(
        None,
        "threshold at the start (default 1: keep all; soft_movement 0)",
        topic=PRUNING,
    )
    final_threshold: float | None = _option(
        None,
        "threshold at the end (default: the density; soft_movement 0.1)",
        topic=PRUNING,
    )
    published_cut: bool = _option(
        False,
        "with --scope global, cut as the published code does: one weight more, and at least half a "
        "percent of every matrix",
        topic=PRUNING,
    )
    teacher: str | None = _option(
        None,
        "fine-tuned model folder, run or hub name to distil from (its logits are made once)",
        topic=DISTILLATION,
    )
    temperature: float | None = _option(
        None, "distillation temperature (default: 2)", topic=DISTILLATION
    )
    alpha_ce: float | None = _option(
        None, "weight of the task loss in distillation (default: 0.1)", topic=DISTILLATION
    )
    alpha_distil: float | None = _option(
        None, "weight of the distillation loss (default: 0.9)", topic=DISTILLATION
    )
    epochs: float = _option(3.0, "epochs over the training rows", topic=TRAINING, unit="EPOCHS")
    steps: int | None = _option(
        None, "optimizer steps, instead of --epochs", topic=TRAINING, unit="STEPS"
    )
    batch_size: int = _option(32, "rows per step", topic=TRAINING, unit="ROWS")
    max_length: int = _option(
        128, "tokens per row; longer rows are truncated", topic=TRAINING, unit="TOKENS"
    )
    single_length: bool = _option(
        False,
        "pad every batch to --max-length: one compilation, more padding",
        topic=TRAINING,
    )
    learning_rate: float = _option(
        3e-5, "peak learning rate of weights, biases and norms", topic=TRAINING, unit="RATE"
    )
    score_learning_rate: float | None = _option(
        None,
        "peak learning rate of the scores (default 0.01; l0 0.1)",
        topic=PRUNING,
        unit="RATE",
    )
    lr_cycle: float | None = _option(
        None,
        "steps, or below 1 a fraction of the run, in which the learning rate of the weights falls "
        "from its peak to --lr-floor before it starts again; cycles start with the pruning",
        topic=TRAINING,
        unit="STEPS_OR_SHARE",
    )
    lr_start: float | None = _option(
        None,
        "start of the first cycle of --lr-cycle, in place of that of the pruning: a step, or below "
        "1 a fraction of the run",
        topic=TRAINING,
        unit="STEP_OR_SHARE",
    )
    lr_floor: float = _option(
        0.0,
        "learning rate of the weights at the end of a cycle, or of the run",
        topic=TRAINING,
        unit="RATE",
    )
    weight_decay: float = _option(0.0, "decoupled weight decay of the weights", topic=TRAINING)
    warmup: float = _option(
        0.1,
        "learning-rate warm-up: steps, or below 1 a fraction of the run",
        topic=TRAINING,
        unit="STEPS_OR_SHARE",
    )
    score_optimizer: str = _option(
        "adam",
        "optimizer of the scores; sensitivity and platon (movement only) set them to a running "
        "importance |w x gradient| instead of descending",
        choices=("adam", "sgd", "sensitivity", "platon"),
        topic=PRUNING,
    )
    score_beta: float = _option(
        0.85,
        "share of the running importance that a step keeps, for sensitivity and platon: it "
        "averages over about 1 / (1 - BETA) steps",
        topic=PRUNING,
        unit="BETA",
    )
    prune_every: float = _option(
        1,
        "steps between two changes of the masks, fewer in a run too short for it; or below 1 a "
        "fraction of the run, rounded so that the first change is at the start of the ramp and the "
        "last at its end",
        topic=PRUNING,
        unit="STEPS_OR_SHARE",
    )
    first_density: float | None = _option(
        None,
        "density of the first cut, where the ramp begins (default: the ramp begins at 1)",
        topic=PRUNING,
        unit="SHARE",
    )
    dense_gradient: bool = _option(
        False,
        "weights outside the mask go on learning, by the gradient they would have inside",
        topic=PRUNING,
    )
    initial_warmup: float = _option(
        1.0, "pruning starts after this many warm-ups", topic=PRUNING, unit="WARMUPS"
    )
    final_warmup: float = _option(
        2.0, "pruning ends this many warm-ups before the end", topic=PRUNING, unit="WARMUPS"
    )
    first_step: int = _option(
        0,
        "step number of the first update in the sparsity schedule; the published SQuAD runs: 1",
        topic=PRUNING,
        unit="STEP",
    )
    train_embeddings: bool = _option(
        False, "train the embeddings too, as pretraining needs", topic=TRAINING
    )
    freeze: str | None = _option(
        None,
        "parameters that are not trained: weights (matrices, biases and norms of the encoder), "
        "head, or weights,head; scores are trained in any case",
        topic=TRAINING,
    )
    label_words: str | None = _option(
        None,
        "classify by words in place of a new head: one word for each label, in their order, with "
        "commas, whose logits at the first token a pretrained masked-LM head gives; auto = the "
        "task's own words where the model has no trained head",
        topic=TRAINING,
        unit="WORDS",
    )
    clip: float = _option(1.0, "maximum global gradient norm; 0 = no clipping", topic=TRAINING)
    mask_init: str | None = _option(
        None,
        "initial scores; magnitude is the scale times |W| / mean |W| of the matrix (default: "
        "magnitude for movement with adam or sgd, else constant, as published)",
        choices=("constant", "uniform", "kaiming", "magnitude"),
        topic=PRUNING,
    )
    mask_scale: float | None = _option(
        None,
        "value, half-width or scale of the initial scores (default 0; l0 2.197; magnitude 1)",
        topic=PRUNING,
    )
    seed: int = _option(
        0, "seed of new weights, data order and dropout", topic=TRAINING, unit="SEED"
    )
    dtype: str = _option(
        "float32",
        "compute dtype; parameters stay float32. auto: bfloat16 where the devices multiply it "
        "faster (TPUs, newer GPUs, CPUs with instructions for it under jax 0.12)",
        choices=(*DTYPES, "auto"),
        topic=DEVICES,
    )
    accumulate: int = _option(
        1,
        "microbatches per batch, computed in turn to fit a large batch into memory",
        topic=DEVICES,
        unit="MICROBATCHES",
    )
    devices: int | None = _option(
        None, "use the first N devices only (default: all)", topic=DEVICES, unit="DEVICES"
    )
    mesh: str | None = _option(
        None,
        "device mesh, as data=4,fsdp=2,tensor=2: batch rows are split over data and fsdp, "
        "weights, scores and optimizer state over fsdp and tensor (default: data only)",
        topic=DEVICES,
    )
    remat: bool = _option(
        False,
        "rematerialise every layer in the backward pass: less memory, more time",
        topic=DEVICES,
    )
    scan_layers: bool = _option(
        False,
        "compile one layer and scan over it: compiles faster, same results",
        topic=DEVICES,
    )
    limit_train: int | None = _option(
        None,
        "train on N rows: the first N after random.Random(0).shuffle of the file's rows",
        topic=TRAINING,
        unit="ROWS",
    )
    limit_eval: int | None = _option(
        None, "evaluate on the first N rows of the dev file", topic=LOGS, unit="ROWS"
    )
    eval_batch_size: int = _option(64, "rows per step of evaluation", topic=LOGS, unit="ROWS")
    eval_every: int | None = _option(
        None, "evaluate every N steps (default: at the end only)", topic=LOGS, unit="STEPS"
    )
    report_to: str | None = _option(
        None,
        "trackers that get the metrics too, with commas between them: tensorboard, wandb, trackio",
        topic=LOGS,
    )
    tensorboard: bool = _option(False, "the same as --report-to tensorboard", topic=LOGS)
    log_every: int = _option(
        10, "write a line of metrics.jsonl every N steps", topic=LOGS, unit="STEPS"
    )
    checkpoint_every: int = _option(
        500, "save a checkpoint every N steps", topic=STORAGE, unit="STEPS"
    )
    keep: int = _option(
        2,
        "newest checkpoints to keep; the one with the best dev score stays too",
        topic=STORAGE,
        unit="CHECKPOINTS",
    )
    strict: bool = _option(
        False,
        "refuse a damaged checkpoint instead of continuing from the one before",
        topic=STORAGE,
    )
    on_nan: str = _option(
        "stop",
        "at a loss or gradients that are not finite: stop, or skip that update",
        choices=("stop", "skip"),
        topic=STORAGE,
    )
    max_skipped: int = _option(
        10, "updates that --on-nan skip may skip in a run", topic=STORAGE, unit="UPDATES"
    )
    continue_with: str | None = _option(
        None,
        "go on from the last checkpoint with other values, as learning-rate=1e-5,clip=0.5; give "
        "the other options as before",
        topic=STORAGE,
    )
    cache: str | None = _option(
        None,
        "folder for compiled programs and tokenised data; none = no cache "
        "(default: $MPJAX_CACHE or ~/.cache/mpjax)",
        topic=STORAGE,
    )
