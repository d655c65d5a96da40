"""`mpjax shrink`: from a model with zeros to a smaller one, and what was removed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError
from mpjax.export.shrink import shrink
from mpjax.export.source import free_output, load_stored, tokenizer_of
from mpjax.log import log
from mpjax.report import percent, render

if TYPE_CHECKING:
    from mpjax.models import EncoderConfig, Model


@dataclass(frozen=True)
class Removed:
    """What shrinking left: by layer (heads, FFN units), out of how many of the dense model."""

    output: Path
    layers: tuple[tuple[int, int], ...]
    heads: int  # of a layer of the dense model
    units: int
    parameters_before: int
    parameters_after: int

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "output": str(self.output),
            "heads": self.heads,
            "ffn_units": self.units,
            "heads_per_layer": [heads for heads, _ in self.layers],
            "ffn_per_layer": [units for _, units in self.layers],
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
        }

    def table(self) -> str:
        """Heads and units left in every layer, then the parameters."""
        rows = [
            [str(i), f"{heads} of {self.heads}", f"{units} of {self.units}"]
            for i, (heads, units) in enumerate(self.layers)
        ]
        total = [sum(counts) for counts in zip(*self.layers, strict=True)]
        of = [size * len(self.layers) for size in (self.heads, self.units)]
        rows.append(["all", *(f"{n} of {size}" for n, size in zip(total, of, strict=True))])
        share = percent(self.parameters_after / self.parameters_before)
        return (
            f"{render(['layer', 'heads left', 'FFN units left'], rows)}\n\n"
            f"parameters  {self.parameters_before:,} to {self.parameters_after:,} ({share}), "
            "embeddings and head included"
        )


def shrink_model(
    name: str | Path,
    output: str | Path,
    *,
    threshold: float | None = None,
    longest: int | None = None,
) -> tuple[Removed, Model, Model]:
    """Writes a run, model folder or hub name without what cannot contribute; exact, see `shrink`.

    Args:
      threshold: of the masks of a training checkpoint, see `plain.load_plain`.
      longest: row that will be asked of it, refused before anything is written if it is too long.

    Returns:
      What was removed, the model as it was read, and the smaller one.

    Raises:
      InputError: an `output` that is in use, or whatever is wrong with the model.
    """
    from mpjax import models

    target = free_output(output)
    model = load_stored(name, threshold)
    if longest is not None and longest > model.config.max_length:
        raise InputError(
            f"--max-length {longest} is more than the {model.config.max_length} positions for "
            f"tokens of the model in {model.folder}; lower it"
        )
    log.info("looking for dead heads and FFN units in %d layers", model.config.num_hidden_layers)
    small = shrink(model.params, model.config)
    module = models.encoder(small.config, model.head)
    models.save_model(target, small.config, small.params, model.head, tokenizer_of(model))
    removed = Removed(
        target,
        layer_sizes(small.config),
        model.config.num_attention_heads,
        model.config.intermediate_size,
        small.parameters_before,
        small.parameters_after,
    )
    shrunk = replace(model, config=small.config, params=small.params, module=module, folder=target)
    return removed, model, shrunk


def layer_sizes(config: EncoderConfig) -> tuple[tuple[int, int], ...]:
    """(heads, FFN units) of every layer."""
    return tuple((config.heads(i), config.units(i)) for i in range(config.num_hidden_layers))
