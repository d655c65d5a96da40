"""Memory, time and traffic of a train step on a TPU slice, compiled for it without a TPU."""
