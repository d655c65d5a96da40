"""Protocol of trackers, and the run that they are told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Session:
    """Run that a tracker follows.

    Attributes:
      folder: run folder.
      id: name that no other run has, the same when the run is continued.
      config: options of the run.
      given: last step that the tracker got in earlier sessions, 0 for none.
    """

    folder: Path
    id: str
    config: Mapping[str, Any]
    given: int

    @property
    def name(self) -> str:
        """Name for people: that of the folder."""
        return self.folder.name


class Tracker(Protocol):
    """Receives the numbers of one run. Any method may raise: the run goes on without the tracker.

    Attributes:
      held: last step that the tracker has of earlier sessions; None where it cannot tell.
    """

    @property
    def held(self) -> int | None: ...
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of a step; steps rise, each is given once."""
        ...

    def result(self, values: Mapping[str, Any]) -> None:
        """Takes the content of `result.json`."""
        ...

    def close(self, finished: bool) -> None:
        """Hands over what waits; not finished, the run is to be continued."""
        ...
