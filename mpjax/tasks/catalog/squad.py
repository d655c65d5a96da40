"""SQuAD v1.1: questions on Wikipedia passages, each answered by a span."""

from mpjax.tasks.squad.task import SquadTask

TASK = SquadTask("squad", "qa", metric="f1")
