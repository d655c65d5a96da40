"""Sections of a page, one a file: each makes tables and plots of the runs."""
