"""Exact top-k selection by counting: no sort, and no gather of sharded arrays."""
