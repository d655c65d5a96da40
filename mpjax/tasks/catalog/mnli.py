"""MNLI: natural language inference, with dev sets of matched and mismatched genres."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "mnli",
    "classification",
    ("entailment", "neutral", "contradiction"),
    label_words=("Yes", "Maybe", "No"),
    folder="MNLI",
    texts=(("premise", "sentence1"), ("hypothesis", "sentence2")),
    label=("label", "gold_label"),
    named=True,
    parts=("matched", "mismatched"),
)
