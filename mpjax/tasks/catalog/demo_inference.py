"""Toy natural language inference between claims about all, some or none of a kind."""

from mpjax.tasks.demo.claims import LABELS, inference
from mpjax.tasks.demo.task import DemoClassification

TASK = DemoClassification(
    "demo_inference",
    "classification",
    LABELS,
    label_words=("yes", "perhaps", "no"),
    texts=(("premise",), ("hypothesis",)),
    stream=2,
    make=inference,
)
