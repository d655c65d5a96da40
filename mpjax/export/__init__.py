"""Finished runs as folders for other programs, and as smaller models."""

from mpjax.export.checkpoint import export_with_scores
from mpjax.export.folder import export_model
from mpjax.export.inspect import inspect_model
from mpjax.export.latency import measure_latency
from mpjax.export.shrinking import shrink_model

__all__ = [
    "export_model",
    "export_with_scores",
    "inspect_model",
    "measure_latency",
    "shrink_model",
]
