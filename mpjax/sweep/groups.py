"""Groups of members that train together, and the record of those that have begun.

A group goes on as a whole from its checkpoint, so that a sweep that is killed while it writes its
results trains nothing again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.runs.checkpoints import Checkpoints
from mpjax.runs.folder import RunDir
from mpjax.training.job import Job

CHECKPOINTS, GROUPS = "checkpoints", "groups.json"
MEMBER_RUNS = "members"  # folder of the runs of a sweep


@dataclasses.dataclass(frozen=True)
class Group:
    """Members that train together; the last one fills the program's unused places."""

    output: Path
    members: list[tuple[Job, RunDir]]
    size: int

    @property
    def jobs(self) -> list[Job]:
        jobs = [job for job, _ in self.members]
        return jobs + jobs[-1:] * (self.size - len(jobs))

    @property
    def checkpoints(self) -> Path:
        return _place(self.output, self.size, [run.path.name for _, run in self.members])

    def open_checkpoints(self) -> Checkpoints:
        """Checkpoints of the group, which hold the growing files of every member."""
        files = {
            f"{run.path.name}/{path.name}": path for _, run in self.members for path in run.growing
        }
        mishaps = self.jobs[0].mishaps
        return Checkpoints(self.checkpoints, files=files, keep=mishaps.keep, strict=mishaps.strict)


def begun_groups(
    output: Path, waiting: Sequence[str], known: Collection[str]
) -> tuple[int, list[list[str]]]:
    """Size and members of the groups that an interrupted sweep was training, finished ones among
    them.

    Args:
      waiting: members without a result.
      known: members of the sweep.

    Raises:
      InputError: the record is damaged, or a group in training has an unfinished member that is
        not known: its checkpoint would be lost.
    """
    path = output / CHECKPOINTS / GROUPS
    if not path.is_file():
        return 0, []
    plan = read_object(path)
    try:
        groups = [[str(name) for name in names] for names in plan["groups"]]
        size = int(plan["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged; remove {path.parent} to train the unfinished members anew"
        ) from error
    for group in groups:
        left = [name for name in group if name not in known and not _finished(output, name)]
        if left and _place(output, size, group).is_dir():
            raise InputError(
                f"{output} trains {', '.join(left)} together with other members, and has a "
                "checkpoint of them: give their values too, to finish them first, or remove "
                f"{path.parent} to train the unfinished members anew"
            )
    return size, [
        group for group in groups if set(group) <= set(known) and not set(group).isdisjoint(waiting)
    ]


def _finished(output: Path, name: str) -> bool:
    return RunDir(output / MEMBER_RUNS / name).result.is_file()


def _place(output: Path, size: int, names: Sequence[str]) -> Path:
    """Folder of the checkpoints of a group."""
    words = "\n".join([str(size), *names])
    return output / CHECKPOINTS / hashlib.sha256(words.encode()).hexdigest()[:16]


def chunks(names: Sequence[str], size: int) -> list[list[str]]:
    return [list(names[i : i + size]) for i in range(0, len(names), size)]


def record_groups(output: Path, size: int, groups: Sequence[Sequence[str]]) -> None:
    """Writes size and members of the groups, for `begun_groups` after a kill."""
    write_json(output / CHECKPOINTS / GROUPS, {"size": size, "groups": groups})
