"""HTML pages about runs: one file that opens without a network."""
