"""MRPC: paraphrase detection."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "mrpc",
    "classification",
    ("not_equivalent", "equivalent"),
    label_words=("No", "Yes"),
    folder="MRPC",
    texts=(("sentence1", "#1 String"), ("sentence2", "#2 String")),
    label=("label", "Quality"),
    scores=("accuracy", "f1"),
)
