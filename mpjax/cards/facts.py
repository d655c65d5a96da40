"""Facts of a card, gathered from a run or a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpjax.cards.comparison import Compared, compared
from mpjax.cards.data import TrainingData, training_data
from mpjax.cards.origin import Origin, origin
from mpjax.cards.records import read_records
from mpjax.config.recorded import is_run
from mpjax.models import EncoderConfig, dense_shapes, read_config, stored_head
from mpjax.report import EncoderDensity, measure


@dataclass(frozen=True)
class RunFacts:
    """Facts of the run that made a model.

    Attributes:
      options: of `config.json`, as they were recorded.
      derived: sizes derived from the data.
      result: content of `result.json`.
      sessions: of `provenance.json`.
    """

    options: Mapping[str, Any]
    derived: Mapping[str, Any]
    result: Mapping[str, Any]
    sessions: tuple[Mapping[str, Any], ...]
    data: TrainingData
    origin: Origin
    compared: tuple[Compared, ...]

    @property
    def metric(self) -> str:
        """Primary metric."""
        return str(self.result["metric"])

    @property
    def score(self) -> float:
        """Primary dev score, in percent."""
        return float(self.result["score"][self.metric])


@dataclass(frozen=True)
class Facts:
    """Everything that a card says.

    Attributes:
      name: of the model.
      head: as `stored_head`.
      notes: sentences about the form of the weights.
      run: None for a model folder of which no run is known.
    """

    name: str
    head: str
    config: EncoderConfig
    density: EncoderDensity
    notes: tuple[str, ...] = ()
    run: RunFacts | None = field(default=None)

    @property
    def for_transformers(self) -> bool:
        """Whether `transformers` can express the model: equal layers, and its LayerNorm."""
        config = self.config
        equal = not config.pruned_heads and config.ffn_per_layer is None
        return equal and config.layer_norm_type == "layer_norm"


def gather(
    source: str | Path, folder: Path, tensors: Mapping[str, Any], notes: tuple[str, ...] = ()
) -> Facts:
    """Facts of a model and, where its source is a finished run, of the run.

    Args:
      source: run folder or model folder.
      folder: holds the model's config, a packed model is one too.
      tensors: weights of the model by name, as they are stored.
    """
    config = read_config(folder)
    density = measure(tensors, dense_shapes(config))
    run = _run_facts(Path(source)) if is_run(source) else None
    name = Path(source).resolve().name.removesuffix(".mpz")
    return Facts(name, stored_head(folder), config, density, notes, run)


def _run_facts(folder: Path) -> RunFacts | None:
    """Facts of a finished run; None where its records are not whole."""
    records = read_records(folder)
    if records is None:
        return None
    options, metric = records.options, records.result["metric"]
    return RunFacts(
        *records,
        training_data(options),
        origin(options["model"]),
        compared(folder, options, metric),
    )
