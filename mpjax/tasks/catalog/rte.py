"""RTE: textual entailment."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "rte",
    "classification",
    ("entailment", "not_entailment"),
    folder="RTE",
    named=True,
    texts=(("sentence1", "premise"), ("sentence2", "hypothesis")),
)
