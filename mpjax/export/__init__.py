"""Finished runs as folders for other programs."""

from mpjax.export.folder import export_model

__all__ = ["export_model"]
