"""QNLI: does the sentence answer the question?"""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "qnli",
    "classification",
    ("entailment", "not_entailment"),
    folder="QNLI",
    named=True,
    texts=(("question",), ("sentence",)),
)
