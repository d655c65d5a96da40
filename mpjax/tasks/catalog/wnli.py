"""WNLI: entailment of a sentence with its pronoun resolved."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "wnli",
    "classification",
    ("not_entailment", "entailment"),
    label_words=("No", "Yes"),
    folder="WNLI",
    texts=(("sentence1",), ("sentence2",)),
)
