"""Run folders as records for a page; damaged files become notes, not errors."""
