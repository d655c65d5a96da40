"""Fine-pruning in PyTorch, to compare with: transformers' model, masks by parametrization.

Written from the published method and sharing no numerics with mpjax, so that agreement of the two
means something. Needs the extra ``[torch]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize

from experiments.torch_compare.layouts import layout
from experiments.torch_compare.masks import Masked, StraightThrough, keep_largest, original
from experiments.torch_compare.numerics import Numerics
from mpjax.config.checks import DENSE, option
from mpjax.config.length import RunLength
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

CLASSES = {
    "classification": transformers.AutoModelForSequenceClassification,
    "qa": transformers.AutoModelForQuestionAnswering,
}
FLOOR = 0.005  # least share of a matrix that the threshold methods keep
BETA, LEFT, RIGHT = 2 / 3, -0.1, 1.1  # of the hard-concrete gates


@dataclass(frozen=True)
class Pretrained:
    """Initial model of a run.

    Attributes:
      folder: with the ``config.json`` of the model.
      tensors: every initial value by its Hugging Face name, the head's included.
      head: ``classification`` (one label = regression) or ``qa``.
      num_labels: of the classifier.
    """

    folder: Path
    tensors: Mapping[str, np.ndarray]
    head: str
    num_labels: int

    def build(self, dtype: torch.dtype, dropout: bool) -> Any:
        """The model of ``transformers`` with these values.

        Raises:
          InputError: missing or unknown tensors.
        """
        settings = {"num_labels": self.num_labels} if self.head == "classification" else {}
        shape = transformers.AutoConfig.from_pretrained(self.folder, **settings)
        if not dropout:
            shape.hidden_dropout_prob = shape.attention_probs_dropout_prob = 0.0
            shape.classifier_dropout = None
        model: Any = CLASSES[self.head].from_config(shape).to(dtype)
        missing, unknown = model.load_state_dict(
            {name: torch.tensor(array, dtype=dtype) for name, array in self.tensors.items()},
            strict=False,
        )
        if missing or unknown:
            raise InputError(f"the PyTorch model wants {missing} and does not know {unknown}")
        return model


class TorchTrainer:
    """One fine-pruning run.

    Args:
      config: resolved options.
      length: total and warm-up steps.
      pretrained: initial model.
      numerics: types, dropout and device.

    Raises:
      InputError: options that this trainer does not have.
    """

    def __init__(
        self,
        config: TrainConfig,
        length: RunLength,
        pretrained: Pretrained,
        numerics: Numerics,
    ) -> None:
        _check(config)
        torch.manual_seed(config.seed)
        self.config, self.length, self.step_count = config, length, 0
        self.device = torch.device(numerics.device)
        self.compute = None if numerics.compute is None else getattr(torch, numerics.compute)
        dtype = getattr(torch, numerics.dtype)
        self.model: Any = pretrained.build(dtype, numerics.dropout).to(self.device).train()
        self.masked = self._parametrize(dtype)
        self.optimizer = self._optimizer()
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def _parametrize(self, dtype: torch.dtype) -> dict[str, tuple[nn.Linear, Masked]]:
        """(Linear, mask) of every prunable matrix by its Hugging Face name."""
        found: dict[str, tuple[nn.Linear, Masked]] = {}
        if self.config.method == DENSE:
            return found
        scale = None if self.config.method == "magnitude" else self.config.mask_scale
        shared: dict[str, nn.Parameter | None] = {}
        for name, module in list(self.model.named_modules()):
            if isinstance(module, nn.Linear) and ".layer." in name:
                lies = layout(self.config.structure, name, module)
                if lies.name not in shared:
                    values = None if scale is None else self._start(lies.shape, scale, module)
                    shared[lies.name] = None if values is None else nn.Parameter(values)
                mask = Masked(shared[lies.name], lies, dtype).to(self.device)
                mask.mask = mask.mask.to(self.device)
                parametrize.register_parametrization(module, "weight", mask)
                found[name] = module, mask
        return found

    def _start(self, shape: tuple[int, ...], scale: float, linear: nn.Linear) -> torch.Tensor:
        """Scores before the first step."""
        if self.config.mask_init == "magnitude":
            size = linear.weight.detach().abs()
            return scale * size / size.mean()
        return torch.full(shape, scale, dtype=linear.weight.dtype)

    def _optimizer(self) -> torch.optim.AdamW:
        c = self.config
        groups: dict[str, list[nn.Parameter]] = {"scores": [], "plain": [], "weights": []}
        for name, parameter in self.model.named_parameters():
            if "embeddings" in name and not c.train_embeddings:
                parameter.requires_grad_(False)
            elif name.endswith("scores"):
                groups["scores"].append(parameter)
            elif name.endswith("bias") or "LayerNorm" in name:
                groups["plain"].append(parameter)
            else:
                groups["weights"].append(parameter)
        self.trained = [p for group in groups.values() for p in group]
        rates = {"scores": c.score_learning_rate or 0.0}
        decays = {"weights": c.weight_decay}
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": rates.get(name, c.learning_rate),
                    "weight_decay": decays.get(name, 0.0),
                }
                for name, parameters in groups.items()
                if parameters
            ],
            eps=1e-8,
        )

    def _rate(self, step: int) -> float:
        warmup, total = self.length.warmup_steps, self.length.total_steps
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (total - step) / max(1, total - warmup))

    def threshold(self) -> float:
        """Threshold of the next forward pass: the cubic ramp between two flat ends."""
        c, step = self.config, self.step_count
        start = c.initial_warmup * self.length.warmup_steps
        end = self.length.total_steps - c.final_warmup * self.length.warmup_steps
        first, last = float(c.initial_threshold or 0.0), float(c.final_threshold or 0.0)
        if step <= start:
            return first
        if step > end:
            return last
        return last + (first - last) * (1 - (step - start) / (end - start)) ** 3

    def set_masks(self, threshold: float, noise: Mapping[str, Tensor] | None = None) -> None:
        """Computes every mask; ``noise`` are uniform draws for l0, drawn here if absent."""
        method = self.config.method
        if method == "l0":
            for name, (_, m) in self.masked.items():
                draw = torch.rand_like(m.scores) if noise is None else noise[name].to(self.device)
                u = draw.clamp(1e-4, 1 - 1e-4)
                gate = torch.sigmoid((u.log() - (1 - u).log() + m.scores) / BETA)
                m.mask = (gate * (RIGHT - LEFT) + LEFT).clamp(0, 1)
            return
        values = {
            m.layout.name: original(linear).detach().abs()
            if m.scores is None
            else m.scores.detach()
            for linear, m in self.masked.values()
        }
        masks = self._hard_masks(values, threshold)
        for _, m in self.masked.values():
            mask = masks[m.layout.name]
            m.mask = mask if m.scores is None else StraightThrough.apply(m.scores, mask)

    def _hard_masks(self, values: Mapping[str, Tensor], threshold: float) -> dict[str, Tensor]:
        if self.config.method == "soft_movement":
            return {name: self._above(v, threshold) for name, v in values.items()}
        if self.config.scope == "local":
            return {n: keep_largest(v, int(threshold * v.numel())) for n, v in values.items()}
        flat = torch.cat([v.T.reshape(-1) for v in values.values()])
        mask = keep_largest(flat[:, None], int(threshold * flat.numel()))[:, 0]
        parts = mask.split([v.numel() for v in values.values()])
        return {
            name: part.reshape(v.T.shape).T
            for (name, v), part in zip(values.items(), parts, strict=True)
        }

    @staticmethod
    def _above(scores: Tensor, threshold: float) -> Tensor:
        mask = torch.sigmoid(scores) > threshold
        least = int(FLOOR * scores.numel()) + 1
        if int(mask.sum()) < least:
            cut = scores.flatten().sort().values[max(scores.numel() - least, 1) - 1]
            mask = scores > cut
        return mask.to(scores.dtype)

    def penalty(self) -> Tensor:
        """Mean over arrays of scores of the mean σ(S), shifted for l0, times its group's factor."""
        shift = BETA * math.log(-LEFT / RIGHT) if self.config.regularization == "l0" else 0.0
        arrays = {m.layout.name: m.scores for _, m in self.masked.values()}
        means = [
            torch.sigmoid(scores - shift).mean()
            * (self.config.lambda_attention if ".attention." in name else self.config.lambda_ffn)
            for name, scores in arrays.items()
        ]
        return torch.stack(means).mean()

    def step(
        self, batch: Mapping[str, np.ndarray], noise: Mapping[str, Tensor] | None = None
    ) -> dict[str, float]:
        """One step; returns task loss and threshold."""
        c, threshold = self.config, 1.0
        if self.masked:
            threshold = self.threshold()
            self.set_masks(threshold, noise)
        with torch.autocast(self.device.type, self.compute, enabled=self.compute is not None):
            loss = self.model(**self._inputs(batch)).loss
        total = loss
        if c.final_lambda and c.final_threshold:
            total = loss + c.final_lambda * threshold / c.final_threshold * self.penalty()
        total.backward()
        if c.clip:
            torch.nn.utils.clip_grad_norm_(self.trained, c.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step_count += 1
        return {"loss": float(loss.detach()), "threshold": threshold}

    def _inputs(self, batch: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        inputs = {name: torch.as_tensor(array).long() for name, array in batch.items()}
        if batch.get("labels", np.zeros(0, int)).dtype.kind == "f":
            inputs["labels"] = torch.as_tensor(batch["labels"]).to(self.model.dtype)
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def density(self) -> float:
        """Share of the entries that the masks of the last step keep; 1 without masks."""
        masks = [torch.as_tensor(mask) for mask in self.masks().values()]
        kept = sum(float((mask != 0).sum()) for mask in masks)
        return kept / sum(mask.numel() for mask in masks) if masks else 1.0

    def masks(self) -> dict[str, np.ndarray]:
        """Masks of the last step by matrix, (out, in)."""
        return self._spread({name: m.mask for name, (_, m) in self.masked.items()})

    def scores(self) -> dict[str, np.ndarray]:
        """Scores by matrix, (out, in), repeated over the weights that they decide about."""
        return self._spread({name: m.scores for name, (_, m) in self.masked.items()})

    def plain_tensors(self) -> dict[str, np.ndarray]:
        """Every tensor by its Hugging Face name, weights masked, gates without noise."""
        if self.config.method == "l0":
            for _, m in self.masked.values():
                m.mask = (torch.sigmoid(m.scores) * (RIGHT - LEFT) + LEFT).clamp(0, 1)
        elif self.masked:
            self.set_masks(self.threshold())
        tensors = {f"{name}.weight": linear.weight for name, (linear, _) in self.masked.items()}
        tensors |= {
            name: tensor
            for name, tensor in self.model.state_dict().items()
            if "parametrizations" not in name
        }
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def _spread(self, tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        return {
            name: self.masked[name][1].layout.spread(tensor.detach()).cpu().numpy()
            for name, tensor in tensors.items()
        }


def _check(config: TrainConfig) -> None:
    """Refuses options that this trainer does not have."""
    if config.scope == "type":
        raise InputError("the PyTorch trainer has --scope local and global only")
    if config.method == "l0" and config.density is not None:
        raise InputError("the PyTorch trainer has the published l0 only; use --final-lambda")
    if config.structure != "element" and config.method in ("l0", "magnitude"):
        raise InputError("the PyTorch trainer has structures for movement and soft_movement")
    starts = ("constant", "magnitude") if config.structure == "element" else ("constant",)
    if config.mask_init not in (None, *starts):
        raise InputError("the PyTorch trainer has not this start; use --mask-init constant")
    missing = (
        "score_optimizer", "prune_every", "first_density", "dense_gradient", "lr_cycle", "lr_start",
        "lr_floor", "freeze", "lambda_ramp",
    )  # fmt: skip
    for name in missing:
        if getattr(config, name) != getattr(TrainConfig, name):
            raise InputError(f"the PyTorch trainer has no {option(name)}; leave it out")
