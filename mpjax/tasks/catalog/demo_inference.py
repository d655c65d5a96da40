"""Toy pairs: does a claim about all, some or none entail another, or contradict it?"""

from mpjax.tasks.demo.claims import LABELS, inference
from mpjax.tasks.demo.task import DemoClassification

TASK = DemoClassification(
    "demo_inference",
    "classification",
    LABELS,
    texts=(("premise",), ("hypothesis",)),
    stream=2,
    make=inference,
)
