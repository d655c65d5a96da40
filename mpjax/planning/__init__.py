"""What a train step would cost on a TPU slice, found by compiling it there without one."""
