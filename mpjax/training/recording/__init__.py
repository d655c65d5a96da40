"""Records of a run beside its metrics: changes of the masks, warnings."""
