"""One file per task. The file's name is the task's name; it defines ``TASK``."""
