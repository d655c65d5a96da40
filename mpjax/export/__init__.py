"""Finished runs as folders for other programs, as smaller models, and as packed files.

`with_scores.export_with_scores` is imported from its module: it needs Orbax, which takes a second.
"""

from mpjax.export.dense_folder import export_model
from mpjax.export.inspect import inspect_model
from mpjax.export.latency import measure_latency
from mpjax.export.pack import EMBEDDING_DTYPES, pack_model, unpack_model
from mpjax.export.packed_sizes import PackedSizes, Section, measure_packed
from mpjax.export.shrunk_folder import ShrinkReport, shrink_model

__all__ = [
    "EMBEDDING_DTYPES",
    "PackedSizes",
    "Section",
    "ShrinkReport",
    "export_model",
    "inspect_model",
    "measure_latency",
    "measure_packed",
    "pack_model",
    "shrink_model",
    "unpack_model",
]
