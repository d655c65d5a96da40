"""SQuAD v2.0: as v1.1, with questions that the passage does not answer."""

from mpjax.tasks.squad.task import SquadTask

TASK = SquadTask(
    "squad_v2",
    "qa",
    metric="f1",
    hub_name="rajpurkar/squad_v2",
    version="v2.0",
    unanswerable=True,
)
