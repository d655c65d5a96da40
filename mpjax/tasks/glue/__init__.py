"""GLUE: sentences and sentence pairs, classes or a similarity."""
