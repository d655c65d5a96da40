"""Metrics of a run in TensorBoard, Weights & Biases or Trackio, behind one small protocol.

A tracker is a module of this folder with ``PACKAGE``, ``check`` and ``start``; its package is
imported when a run asks for it.
"""

from mpjax.trackers.base import Session, Tracker
from mpjax.trackers.known import NAMES, chosen
from mpjax.trackers.reports import Reports

__all__ = ["NAMES", "Reports", "Session", "Tracker", "chosen"]
