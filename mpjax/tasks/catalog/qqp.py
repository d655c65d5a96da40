"""QQP: duplicate questions."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "qqp",
    "classification",
    ("not_duplicate", "duplicate"),
    label_words=("No", "Yes"),
    folder="QQP",
    texts=(("question1",), ("question2",)),
    label=("label", "is_duplicate"),
    scores=("accuracy", "f1"),
    # A few questions of the official tsv hold line breaks, which split their line.
    broken=0.001,
)
