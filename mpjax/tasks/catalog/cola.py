"""CoLA: linguistic acceptability of a sentence."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "cola",
    "classification",
    ("unacceptable", "acceptable"),
    label_words=("incorrect", "correct"),
    metric="matthews",
    folder="CoLA",
    header=("source", "label", "mark", "sentence"),
    scores=("matthews", "accuracy"),
)
