"""Finished runs as folders for other programs, as smaller models, and as one compact file."""

from mpjax.export.folder import export_model
from mpjax.export.inspect import inspect_model
from mpjax.export.latency import measure_latency
from mpjax.export.pack import EMBEDDINGS, pack_model, unpack_model
from mpjax.export.shrinking import shrink_model
from mpjax.export.sizes import Part, Sizes, measure_packed
from mpjax.export.with_scores import export_with_scores

__all__ = [
    "EMBEDDINGS",
    "Part",
    "Sizes",
    "export_model",
    "export_with_scores",
    "inspect_model",
    "measure_latency",
    "measure_packed",
    "pack_model",
    "shrink_model",
    "unpack_model",
]
