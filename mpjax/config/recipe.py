"""A recipe: options of `mpjax train` by one name; options given on the command line override it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Options of `TrainConfig` that belong together.

    Attributes:
      summary: one line for `mpjax recipes`.
      source: paper or measurement that it follows.
      options: values by field of `TrainConfig`.
      measured: what it gave, by receipts in `experiments/results`, or that there is none.
      with_teacher: further values for runs with a ``teacher``.
    """

    summary: str
    source: str
    options: Mapping[str, Any]
    measured: str = "not measured here"
    with_teacher: Mapping[str, Any] = field(default_factory=dict)
