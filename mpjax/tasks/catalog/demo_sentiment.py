"""Toy sentiment of sentences that praise or blame."""

from mpjax.tasks.demo.task import DemoClassification, sentiment

TASK = DemoClassification(
    "demo_sentiment",
    "classification",
    ("negative", "positive"),
    label_words=("nasty", "lovely"),
    stream=1,
    make=sentiment,
)
