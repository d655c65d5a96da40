"""RTE: textual entailment."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "rte",
    "classification",
    ("entailment", "not_entailment"),
    label_words=("Yes", "No"),
    folder="RTE",
    named=True,
    texts=(("sentence1", "premise"), ("sentence2", "hypothesis")),
)
