"""Packed models: kept weights only, in one file."""
