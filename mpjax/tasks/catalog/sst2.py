"""SST-2: sentiment of sentences from film reviews."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "sst2",
    "classification",
    ("negative", "positive"),
    label_words=("terrible", "great"),
    folder="SST-2",
)
