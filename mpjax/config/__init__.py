"""Options of a run: the dataclass behind the command line, and its checks. Imports no jax."""
