"""QNLI: question and sentence, entailment if the sentence holds the answer."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "qnli",
    "classification",
    ("entailment", "not_entailment"),
    folder="QNLI",
    named=True,
    texts=(("question",), ("sentence",)),
)
