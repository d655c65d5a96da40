"""SQuAD v2.0: SQuAD v1.1 and questions without an answer in the passage."""

from mpjax.tasks.squad.task import SquadTask

TASK = SquadTask(
    "squad_v2",
    "qa",
    metric="f1",
    hub_name="rajpurkar/squad_v2",
    version="v2.0",
    unanswerable=True,
)
