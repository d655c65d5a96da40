"""QNLI: question and sentence, entailment if the sentence holds the answer."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "qnli",
    "classification",
    ("entailment", "not_entailment"),
    label_words=("Yes", "No"),
    folder="QNLI",
    named=True,
    texts=(("question",), ("sentence",)),
)
