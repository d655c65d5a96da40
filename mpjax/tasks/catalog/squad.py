"""SQuAD v1.1: extractive question answering on Wikipedia passages."""

from mpjax.tasks.squad.task import SquadTask

TASK = SquadTask("squad", "qa", metric="f1")
