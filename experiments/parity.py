"""Replays recorded runs of the published PyTorch code and prints how far this library is from them.

    python -m experiments.parity CASE_DIR_OR_FILE [--json FILE]

A case is ``NAME.json`` (settings and a log by step) with ``NAME.npz`` (initial and final tensors,
batches, first gradients, logits, masks, gate noise) in float64 with dropout 0. The replay uses the
model, rules and optax chain of a normal run. Exit code 1 if anything numeric is more than 1e-9
away or one mask entry differs.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mpjax.errors import InputError
from mpjax.models import PRUNABLE, BertConfig, encoder, from_torch_names, to_torch_names
from mpjax.models.hf.weights import torch_names
from mpjax.optim.make import OptimizerConfig, make_optimizer, schedules
from mpjax.optim.transforms import add_score_penalty, pruning_state
from mpjax.pruning import Rule, Tree, flatten, make_rule, unflatten
from mpjax.pruning.published import published_masks
from mpjax.training.losses import distillation_loss, task_loss
from mpjax.training.step import apply_model, make_gradients

TOLERANCE = 1e-9
COLUMNS: tuple[str, ...] = (
    "threshold", "lambda", "loss", "logits", "gradients", "parameters", "scores", "masks"
)  # fmt: skip
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
HEADS = {"cls": "classification", "qa": "qa"}


@dataclasses.dataclass(frozen=True)
class ValueCut(Rule):
    """Keeps S > threshold, a value and not a density: the published rule between two global cuts.

    Not registered: the library has no use for a cut that lags behind the scores.
    """

    is_density = False

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels, noise  # a score per weight: their shapes are the kernels'
        fixed = jax.lax.stop_gradient(scores)
        return published_masks("threshold", fixed, fixed, threshold)


@dataclasses.dataclass(frozen=True)
class Case:
    """One recorded run: settings and log from the JSON, arrays from the npz."""

    name: str
    settings: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def config(self) -> BertConfig:
        s = self.settings
        return BertConfig(
            vocab_size=s["vocab_size"],
            hidden_size=s["hidden_size"],
            num_hidden_layers=s["num_layers"],
            num_attention_heads=s["num_heads"],
            intermediate_size=s["intermediate_size"],
            max_position_embeddings=s["max_position_embeddings"],
            type_vocab_size=len(self.arrays["init/bert.embeddings.token_type_embeddings.weight"]),
            layer_norm_eps=s["layer_norm_eps"],
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            id2label=tuple(f"LABEL_{i}" for i in range(s["num_labels"])),
        )

    @property
    def head(self) -> str:
        return HEADS[self.settings["head"]]

    def tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays under ``prefix/``, by the rest of their name."""
        start = prefix + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}

    def per_kernel(self, prefix: str, suffix: str) -> dict[str, Any]:
        """Arrays named ``prefix/MODULE + suffix`` as a tree at the kernels' paths, transposed."""
        modules = {
            name.removesuffix(".weight"): path
            for path, name in torch_names(self.config, self.head).items()
        }
        return unflatten(
            {
                modules[name.removesuffix(suffix)]: jnp.asarray(array.T)
                for name, array in self.tensors(prefix).items()
                if name.endswith(suffix)
            }
        )

    def params(self, prefix: str) -> dict[str, Any]:
        """The model's parameters recorded under ``prefix/``, in float64."""
        wanted = set(torch_names(self.config, self.head).values())
        tensors = {k: v for k, v in self.tensors(prefix).items() if k in wanted}
        return from_torch_names(tensors, self.config, self.head, param_dtype=jnp.float64)

    def batch(self, step: int) -> dict[str, jax.Array]:
        return {k: jnp.asarray(v) for k, v in self.tensors(f"batch/{step}").items()}


def load_case(path: Path) -> Case:
    """Reads ``NAME.json`` and the ``NAME.npz`` beside it.

    Raises:
      InputError: a file is missing or is not of this format.
    """
    arrays = path.with_suffix(".npz")
    for file in (path, arrays):
        if not file.is_file():
            raise InputError(f"{file}: no such file; a case is NAME.json with NAME.npz beside it")
    settings = json.loads(path.read_text())
    missing = {"head", "method", "steps", "log", "learning_rate"} - settings.keys()
    if missing:
        raise InputError(f"{path}: no key {', '.join(sorted(missing))}; not a recorded run")
    with np.load(arrays) as data:
        return Case(settings.get("name", path.stem), settings, dict(data))


def case_rule(settings: Mapping[str, Any]) -> Rule:
    """The rule that the published name of a method stands for, with the case's settings."""
    options = {
        "initial": settings["initial_threshold"],
        "final": settings["final_threshold"],
        "regularization": settings["regularization"] or "none",
    }
    every, method = settings.get("global_topk_frequency"), settings["method"]
    if method == "threshold" and every != 1:
        return ValueCut(**options)
    if every is not None:
        options |= {"scope": "global", "published_cut": True}
    if method == "l0":
        options |= {"cut": False}
    names = {
        "magnitude": "magnitude",
        "topK": "movement",
        "threshold": "movement",
        "sigmoied_threshold": "soft_movement",
        "l0": "l0",
    }
    if method not in names:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(names)}")
    return make_rule(names[method], **options)


def published_cut(scores: Tree, density: float) -> float:
    """The value of the published global cut: -100 at density 1, else the kth smallest score."""
    if density == 1.0:
        return -100.0
    values = np.sort(np.concatenate([np.ravel(s) for s in jax.tree.leaves(scores)]))
    return float(values[max(values.size - (int(values.size * density) + 1), 1) - 1])


def replay(case: Case) -> dict[str, float]:
    """Runs the case in float64; the largest absolute difference by column, and differing masks."""
    settings, log = case.settings, case.settings["log"]
    rule = case_rule(settings)
    optimizer = OptimizerConfig(
        learning_rate=settings["learning_rate"],
        score_learning_rate=settings["mask_scores_learning_rate"],
        weight_decay=settings["weight_decay"],
        adam_eps=settings["adam_eps"],
        max_grad_norm=settings["max_grad_norm"],
        warmup_steps=settings["warmup_steps"],
        initial_warmup=settings["initial_warmup"],
        final_warmup=settings["final_warmup"],
        final_lambda=settings["final_lambda"],
        first_step=settings["first_step"],
    )
    tx = make_optimizer(optimizer, rule, settings["steps"])
    module = encoder(case.config, case.head, dtype=jnp.float64, param_dtype=jnp.float64)
    loss, teacher = task_loss(case.head), None
    if distil := settings["distillation"]:
        teacher = case.params("teacher")
        loss = distillation_loss(
            case.head,
            temperature=distil["temperature"],
            alpha_ce=distil["alpha_ce"],
            alpha_distil=distil["alpha_distil"],
        )
    scores = case.per_kernel("init", ".mask_scores")
    gradients = make_gradients(module, rule, loss, where=PRUNABLE)

    @jax.jit
    def step(variables, opt_state, batch, threshold, noise):
        if teacher is not None:
            batch = {**batch, "teacher_logits": apply_model(module, teacher, batch)}
        (value, (masks, logits)), grads = gradients(variables, batch, threshold, None, noise)
        updates, opt_state = tx.update(grads, opt_state, variables)
        penalty = rule.penalty(variables["scores"])
        new: Any = optax.apply_updates(variables, updates)
        return new, opt_state, value, penalty, masks, logits, grads

    worst: dict[str, float] = dict.fromkeys(COLUMNS, 0.0)

    def note(column: str, ours: Any, theirs: Any) -> None:
        gap = np.max(np.abs(np.asarray(ours) - np.asarray(theirs)), initial=0.0)
        # A NaN on either side is not agreement.
        worst[column] = max(worst[column], float(gap) if np.isfinite(gap) else float("inf"))

    variables: Any = {"params": case.params("init"), "scores": scores}
    opt_state, cut = tx.init(variables), None
    for index, record in enumerate(log):
        now = pruning_state(opt_state)
        assert now is not None
        noise = case.per_kernel(f"uniform/{index}", "") or None
        threshold: Any = now.threshold
        every = settings.get("global_topk_frequency")
        if isinstance(rule, ValueCut) and every:
            density = float(now.threshold)
            if cut is None or density == 1.0 or record["step"] % every == 0:
                cut = published_cut(variables["scores"], density)
            threshold = cut
        before = variables
        variables, opt_state, value, penalty, masks, logits, grads = step(
            variables, opt_state, case.batch(index), threshold, noise
        )
        note("threshold", now.threshold, record["threshold"])
        note("lambda", now.lam, record["lam"])
        note("loss", value + now.lam * penalty, record["loss"])
        outputs = [logits] if case.head == "classification" else [logits[..., 0], logits[..., 1]]
        for i, ours in enumerate(outputs):
            if f"logits/{index}/{i}" in case.arrays:
                note("logits", ours, case.arrays[f"logits/{index}/{i}"])
        worst["masks"] += _differing(masks, case.per_kernel(f"mask/{index}", ""))
        if index == 0:
            _compare_gradients(case, optimizer, rule, before, grads, note)

    final = to_torch_names(variables["params"], case.config, case.head)
    for name, theirs in case.tensors("final").items():
        if name in final:
            note("parameters", final[name], theirs)
        elif not name.endswith(".mask_scores"):  # a pooler that this head does not have
            note("parameters", case.arrays[f"init/{name}"], theirs)
    theirs = flatten(case.per_kernel("final", ".mask_scores"))
    for path, ours in flatten(variables["scores"]).items():
        note("scores", ours, theirs[path])
    return worst


def _differing(ours: Tree, theirs: Tree) -> int:
    recorded, made = flatten(theirs), flatten(ours)
    return sum(int(np.sum(np.asarray(made[p]) != np.asarray(m))) for p, m in recorded.items())


def _compare_gradients(
    case: Case, optimizer: OptimizerConfig, rule: Rule, variables: Any, grads: Any, note: Any
) -> None:
    """First gradients before clipping, the penalty's included, as PyTorch's ``loss.backward()``."""
    if rule.has_penalty:
        _, lam = schedules(optimizer, rule, case.settings["steps"])
        penalty = add_score_penalty(rule.penalty, lam, first_step=optimizer.first_step)
        penalised: Any = penalty.update(grads, penalty.init(variables), variables)[0]
        grads = penalised
    recorded = case.tensors("grad0")
    ours = to_torch_names(grads["params"], case.config, case.head)
    for name, theirs in recorded.items():
        if name in ours:
            note("gradients", ours[name], theirs)
    theirs = flatten(case.per_kernel("grad0", ".mask_scores"))
    for path, gradient in flatten(grads["scores"]).items():
        note("gradients", gradient, theirs[path])


def passes(row: Mapping[str, float]) -> bool:
    """Whether every difference is rounding and no mask entry differs."""
    return all(row[c] == 0 if c == "masks" else row[c] <= TOLERANCE for c in COLUMNS)


def case_files(path: Path) -> list[Path]:
    """The cases of a folder, or the one file."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path.with_suffix(".json")]
    if not files:
        raise InputError(f"{path}: no NAME.json in this folder; name a case or a folder of cases")
    return files


def main(argv: list[str] | None = None) -> int:
    """Prints a row a case; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.parity", description=__doc__)
    parser.add_argument("cases", type=Path, help="a NAME.json, or a folder of them")
    parser.add_argument("--json", type=Path, help="also write the differences to this file")
    args = parser.parse_args(argv)
    rows: dict[str, dict[str, float]] = {}
    try:
        files = case_files(args.cases)
        width = max(len(f.stem) for f in files)
        print(f"{'case':{width}}  " + "  ".join(f"{c:>10}" for c in COLUMNS))
        for file in files:
            with jax.enable_x64(True):
                row = replay(load_case(file))
            cells = [f"{row[c]:10.0f}" if c == "masks" else f"{row[c]:10.1e}" for c in COLUMNS]
            verdict = "" if passes(row) else "  FAIL"
            print(f"{file.stem:{width}}  {'  '.join(cells)}{verdict}", flush=True)
            rows[file.stem] = row
    except InputError as error:
        print(f"experiments.parity: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        verdicts = {name: {**row, "passes": passes(row)} for name, row in rows.items()}
        args.json.write_text(json.dumps(verdicts, indent=1) + "\n")
    return 0 if all(passes(row) for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
