"""Own data: values of texts or pairs of texts."""

from mpjax.tasks.own.sentences import ValueTask

TASK = ValueTask("regression", "regression", metric="pearson")
