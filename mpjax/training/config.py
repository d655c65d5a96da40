"""Everything `mpjax train` can be told, in one frozen dataclass, checked before anything compiles.

The fields are the command line: `--final-lambda` is `final_lambda`. Help texts stand beside the
defaults, so the two cannot drift apart. Which options a pruning method takes is asked of its rule.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError
from mpjax.training.board import check_installed
from mpjax.training.mesh import check_mesh
from mpjax.training.options import DENSE, check_choices, check_ranges, distillation, option
from mpjax.training.structured import check_fill, check_structure

if TYPE_CHECKING:
    from mpjax.pruning import Rule

HUB = "hub"  # as --data: the task's data set on the Hugging Face hub
_THRESHOLDS = ("initial_threshold", "final_threshold")
_SCORES = ("final_lambda", "regularization", "score_learning_rate", "mask_scale")
# Options that say where and how a run is stored and computed, and change none of its numbers.
OPERATIONAL = (
    "output", "checkpoint_every", "cache", "devices", "mesh", "remat", "scan_layers", "tensorboard",
)  # fmt: skip


def _option(default: Any, help: str, **more: Any) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, **more})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One fine-pruning run. `None` means: decided by the method, see `resolve`.

    >>> config = TrainConfig(model="bert", task="sst2", output="runs/one", method="movement",
    ...                      density=0.1)
    >>> resolve(config).final_threshold
    0.1
    """

    model: str = _option(
        "", "model folder, packed model, or name on the Hugging Face hub (required)"
    )
    task: str = _option("", "what to learn; an unknown name lists the known ones (required)")
    data: str | None = _option(
        None,
        "folder or file of the task's data (default: from the hub; demo_* tasks make their own)",
    )
    output: str = _option("", "run folder; the same command again continues it (required)")
    method: str = _option("soft_movement", "what decides which weights stay")
    density: float | None = _option(
        None, "fraction of the prunable weights to keep, in (0, 1]: magnitude, movement, l0"
    )
    final_lambda: float | None = _option(
        None, "final weight of the score penalty, higher is sparser: soft_movement, l0"
    )
    regularization: str | None = _option(
        None,
        "penalty on the scores (default: soft_movement l1, l0 l0, others none)",
        choices=("none", "l1", "l0"),
    )
    structure: str = _option(
        "element",
        "what one score decides about: element, rows, columns (of inputs x outputs), "
        "block:ROWSxCOLUMNS, heads, hybrid (blocks in attention, whole units in the feed-forward "
        "layers), N:M such as 2:4, or attention=ONE,ffn=ANOTHER",
    )
    fill_from: str | None = _option(
        None,
        "finished run to start from: its surviving heads and feed-forward units get all their "
        "weights back and are fine-tuned on, with --method dense",
    )
    lambda_attention: float = _option(1.0, "multiplies --final-lambda for the scores of attention")
    lambda_ffn: float = _option(1.0, "multiplies it for those of the feed-forward layers")
    scope: str = _option(
        "local",
        "compare scores within each matrix (local) or over all of them (global), where each counts "
        "as one, however many weights it decides about",
        choices=("local", "global"),
    )
    initial_threshold: float | None = _option(
        None, "threshold at the start (default 1: keep all; soft_movement 0)"
    )
    final_threshold: float | None = _option(
        None, "threshold at the end (default: the density; soft_movement 0.1)"
    )
    published_cut: bool = _option(
        False,
        "with --scope global, cut as the published code does: one weight more, and never less than "
        "half a percent of a matrix",
    )
    teacher: str | None = _option(
        None, "fine-tuned model folder, run or hub name to distil from (its logits are made once)"
    )
    temperature: float | None = _option(None, "of the distillation (default: 2)")
    alpha_ce: float | None = _option(
        None, "weight of the task's own loss beside a teacher (default: 0.1)"
    )
    alpha_distil: float | None = _option(None, "weight of the teacher's (default: 0.9)")
    epochs: float = _option(3.0, "passes over the training rows")
    steps: int | None = _option(None, "optimizer steps, instead of --epochs")
    batch_size: int = _option(32, "rows per step")
    max_length: int = _option(128, "tokens per row; longer ones are cut")
    single_length: bool = _option(
        False, "pad every batch to --max-length: one compilation, more padding"
    )
    learning_rate: float = _option(3e-5, "peak learning rate of weights, biases and norms")
    score_learning_rate: float | None = _option(
        None, "peak learning rate of the scores (default 0.01; l0 0.1)"
    )
    weight_decay: float = _option(0.0, "decoupled weight decay of the weights")
    warmup: float = _option(0.1, "learning-rate warm-up: steps, or below 1 a fraction of the run")
    initial_warmup: float = _option(1.0, "pruning starts after this many warm-ups")
    final_warmup: float = _option(2.0, "pruning ends this many warm-ups before the end")
    first_step: int = _option(
        0, "step number of the first update in the sparsity schedule; the published SQuAD runs: 1"
    )
    train_embeddings: bool = _option(False, "train the embeddings too, as pretraining needs")
    clip: float = _option(1.0, "largest global norm of the gradient; 0 = no clipping")
    mask_init: str = _option(
        "constant", "initial scores", choices=("constant", "uniform", "kaiming")
    )
    mask_scale: float | None = _option(
        None, "value or half-width of the initial scores (default 0; l0 2.197)"
    )
    seed: int = _option(0, "seed of new weights, data order and dropout")
    dtype: str = _option(
        "float32", "type to compute in; weights stay float32", choices=("float32", "bfloat16")
    )
    accumulate: int = _option(
        1, "parts of a batch that are computed one after another, to fit a large one into memory"
    )
    devices: int | None = _option(None, "use the first N devices only (default: all)")
    mesh: str | None = _option(
        None,
        "what devices share, as data=4,fsdp=2,tensor=2: rows of the batch over data and fsdp, "
        "weights, scores and optimizer state over fsdp and tensor (default: data alone)",
    )
    remat: bool = _option(
        False, "compute every layer again for the gradient: less memory, more time"
    )
    scan_layers: bool = _option(
        False, "compile one layer and loop over it: compiles faster, the results are the same"
    )
    limit_train: int | None = _option(
        None, "train on N rows only: the first N after random.Random(0).shuffle of the file's rows"
    )
    limit_eval: int | None = _option(None, "evaluate on the first N rows of the dev file only")
    eval_batch_size: int = _option(64, "rows per step of evaluation")
    eval_every: int | None = _option(None, "evaluate every N steps too (default: at the end)")
    tensorboard: bool = _option(False, "write the metrics as TensorBoard events too")
    log_every: int = _option(10, "write a line of metrics.jsonl every N steps")
    checkpoint_every: int = _option(500, "save a checkpoint every N steps")
    cache: str | None = _option(
        None,
        "folder for compiled programs and tokenised data; none = keep nothing "
        "(default: $MPJAX_CACHE or ~/.cache/mpjax)",
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """Lengths of a run in optimizer steps, known once the data has been read."""

    total_steps: int
    warmup_steps: int


def resolve(config: TrainConfig) -> TrainConfig:
    """Checks everything that needs no data and fills in what the method decides.

    Paths of local folders become absolute, so that a run is the same run from any directory.

    Raises:
      InputError: an option that is missing, out of range, or means nothing to the method.
    """
    config = dataclasses.replace(config, **check_fill(config))
    for name in ("model", "task", "output"):
        if not getattr(config, name):
            raise InputError(f"{option(name)} is missing (see --help)")
    check_ranges(config)
    check_choices(config)
    check_mesh(config)
    if config.tensorboard:
        check_installed()
    config = dataclasses.replace(config, **distillation(config))
    paths = {"output": os.path.abspath(os.path.expanduser(config.output))}
    for name in ("model", "data", "teacher", "fill_from"):
        path = os.path.expanduser(getattr(config, name) or "")
        if os.path.exists(path):
            paths[name] = os.path.abspath(path)
        elif name == "data" and path not in ("", HUB):
            raise InputError(f"--data {config.data} does not exist; give a folder or a file")
    if config.method == DENSE:
        _refuse(config, "it prunes nothing", "density", *_SCORES, *_THRESHOLDS)
        if config.published_cut:
            raise InputError("--published-cut does not apply to dense: it prunes nothing")
        check_structure(config, None, penalty=False)
        return dataclasses.replace(config, **paths)
    return dataclasses.replace(config, **paths, **_method_values(config))


def make_rule(config: TrainConfig) -> Rule | None:
    """The pruning rule of a resolved config; None for plain fine-tuning."""
    from mpjax import pruning

    if config.method == DENSE:
        return None
    extra = {"published_cut": True} if config.published_cut else {}
    try:
        return pruning.make_rule(
            config.method,
            scope=config.scope,
            regularization=config.regularization or "none",
            initial=config.initial_threshold,
            final=config.final_threshold,
            **extra,
        )
    except ValueError as error:
        raise InputError(
            f"{error} (see --scope, --density, --initial-threshold and --final-threshold)"
        ) from error


def plan(config: TrainConfig, steps_per_epoch: int) -> Plan:
    """Total and warm-up steps, refusing warm-ups that leave no room for the pruning ramp.

    >>> plan(TrainConfig(epochs=2, warmup=0.1, method="magnitude"), steps_per_epoch=50)
    Plan(total_steps=100, warmup_steps=10)
    """
    total = config.steps or round(config.epochs * steps_per_epoch)
    if total < 1:
        raise InputError(f"--epochs {config.epochs:g} gives no training step; use more")
    warmup = int(config.warmup * total) if config.warmup < 1 else int(config.warmup)
    if warmup > total:
        raise InputError(f"--warmup {warmup} is longer than the run of {total} steps; lower it")
    multiple = config.initial_warmup + config.final_warmup
    if config.method != DENSE and multiple * warmup >= total:
        raise InputError(
            f"the warm-ups do not fit: (--initial-warmup {config.initial_warmup:g} + "
            f"--final-warmup {config.final_warmup:g}) x {warmup} warm-up steps = "
            f"{multiple * warmup:g}, but the whole run has {total} steps. Lower --warmup to at "
            f"most {max(math.ceil(total / multiple) - 1, 0)} steps, lower --initial-warmup or "
            "--final-warmup, or train longer (--epochs, --steps)"
        )
    return Plan(total, warmup)


def as_dict(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON values."""
    return dataclasses.asdict(config)


def differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What would change a recorded run's numbers: '--seed was 0, now 1', ...

    >>> differences({"seed": 1, "output": "a"}, {"seed": 0, "output": "b"})
    ['--seed was 0, now 1']
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    then = {**defaults, **then}  # a run older than an option had its default
    names = [name for name in then if name not in OPERATIONAL and name in now]
    return [
        f"{option(name)} was {then.get(name)}, now {now.get(name)}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _method_values(config: TrainConfig) -> dict[str, Any]:
    """Thresholds, λ and score settings of a pruning run, after checking that they make sense."""
    from mpjax.pruning import RULES

    method, rule = config.method, RULES[config.method]
    regularization = config.regularization or rule.regularization
    penalty = rule.has_scores and regularization != "none"
    fixed = check_structure(config, rule, penalty)
    config = dataclasses.replace(config, **fixed)
    density, final, lam = config.density, config.final_threshold, config.final_lambda
    if config.published_cut and (config.scope == "local" or not _has_published_cut(rule)):
        raise InputError(
            "--published-cut is the global cut of magnitude and movement; use it with "
            "--scope global and one of the two, or leave it out"
        )
    if not rule.is_density:
        _refuse(
            config,
            "its density follows from --final-lambda (higher is sparser). "
            "Use --final-lambda, or --method movement for an exact density",
            "density",
        )
    if not rule.has_scores:
        _refuse(config, "it trains no scores; use --density", *_SCORES)
    if not penalty:
        _refuse(config, "it has no score penalty; use --density", "final_lambda")
    if config.scope not in rule.scopes:
        raise InputError(
            f"--scope {config.scope} does not apply to {method}; use {' or '.join(rule.scopes)}"
        )
    if density is not None and final not in (None, density):
        raise InputError(
            f"--density {density:g} and --final-threshold {final:g} disagree; give one of them"
        )
    final = density if final is None else final
    exact = rule.is_density and final is not None and config.regularization is None
    if penalty and lam is None and not exact:
        either = "--density or " if rule.is_density else ""
        raise InputError(
            f"--method {method} needs {either}--final-lambda, the weight of the score penalty "
            "(100 is a start; higher is sparser)"
        )
    if rule.is_density and not penalty and final is None:
        raise InputError(f"--method {method} needs --density, the fraction of the weights to keep")
    values: dict[str, Any] = fixed | {
        "initial_threshold": _or(config.initial_threshold, rule.initial),
        "final_threshold": _or(final, rule.final),
    }
    if rule.has_scores:
        values["regularization"] = regularization
    if penalty:
        values["final_lambda"] = _or(lam, 0.0)
    if rule.has_scores:
        values["mask_scale"] = _or(config.mask_scale, rule.default_score_scale)
        values["score_learning_rate"] = _or(
            config.score_learning_rate, rule.default_score_learning_rate
        )
    make_rule(dataclasses.replace(config, **values))
    return values


def _has_published_cut(rule: type[Rule]) -> bool:
    return "published_cut" in rule.__dataclass_fields__


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _refuse(config: TrainConfig, why: str, *fields: str) -> None:
    for field in fields:
        if getattr(config, field) is not None:
            raise InputError(f"{option(field)} does not apply to {config.method}: {why}")
