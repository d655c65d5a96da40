"""A model folder without dead heads and FFN units, and a report of the removal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.export.carded import save_with_card, write_card
from mpjax.export.shrink import shrink
from mpjax.export.source import load_stored, output_folder, tokenizer_of
from mpjax.log import log
from mpjax.models import EncoderConfig, Model, encoder, save_model
from mpjax.report import percent, render
from mpjax.runs.opening import model_folder


@dataclass(frozen=True)
class ShrinkReport:
    """Sizes of a shrunk model beside those of the dense one."""

    output: Path
    layers: tuple[tuple[int, int], ...]  # remaining (heads, FFN units)
    heads: int  # per layer of the dense model
    units: int
    parameters_before: int
    parameters_after: int

    def to_json(self) -> dict[str, Any]:
        """Sizes as JSON values."""
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
        """Remaining heads and units of every layer, then the parameters."""
        rows = [
            [str(i), f"{heads} of {self.heads}", f"{units} of {self.units}"]
            for i, (heads, units) in enumerate(self.layers)
        ]
        total = [sum(counts) for counts in zip(*self.layers, strict=True)]
        dense = [size * len(self.layers) for size in (self.heads, self.units)]
        rows.append(["all", *(f"{n} of {size}" for n, size in zip(total, dense, strict=True))])
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
    overwrite: bool = False,
) -> tuple[ShrinkReport, Model, Model]:
    """Writes a run, model folder or hub name without dead heads and FFN units; see `shrink`.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.
      longest: tokens of a row to be timed later; refused here, before anything is written, if the
        model has fewer positions.
      overwrite: replace another model in ``output``.

    Returns:
      The report, the model as it was read, and the shrunk one.

    Raises:
      InputError: an ``output`` in use, or as `load_stored`.
    """
    target = output_folder(output, name, overwrite)
    model = load_stored(name, threshold)
    if longest is not None and longest > model.config.max_length:
        raise InputError(
            f"--max-length {longest} is more than the {model.config.max_length} positions for "
            f"tokens of the model in {model.folder}; lower it"
        )
    log.info("looking for dead heads and FFN units in %d layers", model.config.num_hidden_layers)
    small = shrink(model.params, model.config)
    module = encoder(small.config, model.head)
    tokenizer, source = tokenizer_of(model), model_folder(name)
    save_with_card(
        lambda export: save_model(export, small.config, small.params, model.head, tokenizer),
        target,
        lambda export, target: write_card(name, source, export, target),
        overwrite,
    )
    report = ShrinkReport(
        target,
        layer_sizes(small.config),
        model.config.num_attention_heads,
        model.config.intermediate_size,
        small.parameters_before,
        small.parameters_after,
    )
    shrunk = replace(model, config=small.config, params=small.params, module=module, folder=target)
    return report, model, shrunk


def layer_sizes(config: EncoderConfig) -> tuple[tuple[int, int], ...]:
    """Heads and FFN units of every layer."""
    return tuple((config.heads(i), config.units(i)) for i in range(config.num_hidden_layers))
