"""Options of `mpjax evaluate` in one frozen dataclass."""

from __future__ import annotations

import dataclasses

from mpjax.config.checks import check_dev_share, check_types, option
from mpjax.errors import InputError
from mpjax.files import shown

RUNTIMES = ("dense", "sparse")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Model to score, and the data to score it on.

    Attributes:
      model: run folder, model folder, packed model or hub name. A run knows its task, data and
        length, which then need not be given.
      task, data: as in `TrainConfig`.
      batch_size: rows per step.
      max_length: tokens per row; 128 unless a run says otherwise.
      limit: first rows of the dev file only.
      dtype: type to compute in: float32, bfloat16 or auto, as in `TrainConfig`.
      runtime: dense, by JAX on its device; or sparse, by PyTorch on the CPU, encoder matrices in
        CSR where that is faster.
      cache: as in `TrainConfig`.
      predictions: file for the predictions, in the form that `mpjax score` reads; of questions, the
        n best answers go beside it.
      overwrite: replace predictions that exist.
      plugin: as in `TrainConfig`.
      text, label, metric: as in `TrainConfig`; a run knows its own.
      dev_share, split_seed: of a file without dev rows; without them all its rows are scored, but
        for the file that the run was trained on.
      threshold: of the masks of a training checkpoint with scores.
      labels: the task's labels, separated by commas, in the order of the folder's classes; None:
        the folder's names say it.
      repair: mend faults of the data where that is certain, and drop other faulty records.
    """

    model: str
    task: str | None = None
    data: str | None = None
    batch_size: int = 64
    max_length: int | None = None
    limit: int | None = None
    dtype: str = "float32"
    runtime: str = "dense"
    cache: str | None = None
    predictions: str | None = None
    overwrite: bool = False
    plugin: str | None = None
    threshold: float | None = None
    labels: str | None = None
    repair: bool = False
    text: str | None = None
    label: str | None = None
    metric: str | None = None
    dev_share: float | None = None
    split_seed: int | None = None

    def __post_init__(self) -> None:
        for name, path in check_types(self).items():
            object.__setattr__(self, name, path)
        for name in ("batch_size", "limit", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{option(name)} is {value}; it must be at least 1")
        if self.runtime not in RUNTIMES:
            found = shown(repr(self.runtime))
            raise InputError(f"--runtime is {found}; choose from {', '.join(RUNTIMES)}")
        if self.runtime == "sparse" and self.dtype == "bfloat16":
            raise InputError(
                f"--runtime sparse computes in float32, and --dtype is {shown(self.dtype)}; leave "
                "one of the two out"
            )
        check_dev_share(self.dev_share, self.split_seed)
