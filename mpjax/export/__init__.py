"""Finished runs as folders for other programs, and as one compact file."""

from mpjax.export.folder import export_model
from mpjax.export.pack import EMBEDDINGS, pack_model, unpack_model
from mpjax.export.sizes import Part, Sizes, measure_packed

__all__ = [
    "EMBEDDINGS",
    "Part",
    "Sizes",
    "export_model",
    "measure_packed",
    "pack_model",
    "unpack_model",
]
