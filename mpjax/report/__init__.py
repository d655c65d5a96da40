"""Encoder density of a model, and plain text tables."""

from mpjax.report.density import EncoderDensity, MatrixCount, measure
from mpjax.report.table import percent, render

__all__ = ["EncoderDensity", "MatrixCount", "measure", "percent", "render"]
