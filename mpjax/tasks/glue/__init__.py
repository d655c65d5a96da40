"""GLUE (Wang et al. 2018): classification of sentences and pairs, and similarity."""
