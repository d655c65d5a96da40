"""Own data: classes of texts or pairs of texts."""

from mpjax.tasks.own.sentences import ClassTask

TASK = ClassTask("classification", "classification")
