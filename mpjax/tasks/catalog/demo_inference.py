"""Toy pairs: does a passage about gifts and places entail a statement, or contradict it?"""

from mpjax.tasks.demo import DemoClassification
from mpjax.tasks.demo_facts import LABELS, inference

TASK = DemoClassification(
    "demo_inference",
    "classification",
    LABELS,
    texts=(("premise",), ("hypothesis",)),
    stream=2,
    make=inference,
)
