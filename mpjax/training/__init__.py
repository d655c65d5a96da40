"""Fine-pruning runs: configuration, train step, loop, checkpoints, evaluation."""
