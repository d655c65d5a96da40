"""Training: state, step, losses, loop, evaluation."""
