"""Numbers as tables: what is left of a model, and plain aligned text."""

from mpjax.report.density import Density, MatrixCount, measure
from mpjax.report.table import percent, render

__all__ = ["Density", "MatrixCount", "measure", "percent", "render"]
