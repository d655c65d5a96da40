"""Exact top-k selection by counting: no sort, and no gather of what is sharded."""
