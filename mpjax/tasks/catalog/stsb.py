"""STS-B: semantic similarity of two sentences, from 0 to 5."""

from mpjax.tasks.glue.task import GlueTask

TASK = GlueTask(
    "stsb",
    "regression",
    metric="pearson",
    folder="STS-B",
    texts=(("sentence1",), ("sentence2",)),
    label=("label", "score"),
    scores=("pearson", "spearman"),
)
