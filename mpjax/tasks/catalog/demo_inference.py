"""Toy pairs: does a claim about all, some or none entail another, or contradict it?"""

from mpjax.tasks.demo import DemoClassification
from mpjax.tasks.demo_claims import LABELS, inference

TASK = DemoClassification(
    "demo_inference",
    "classification",
    LABELS,
    texts=(("premise",), ("hypothesis",)),
    stream=2,
    make=inference,
)
