"""Run folders: files, checkpoints, journals, and opening what is in them."""
