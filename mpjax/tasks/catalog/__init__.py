"""Tasks by name: one file each, named as the task, that defines ``TASK``."""
