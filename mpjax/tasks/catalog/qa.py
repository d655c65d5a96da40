"""Own data: questions whose answers stand in a passage."""

from mpjax.tasks.own.questions import QuestionTask

TASK = QuestionTask("qa", "qa", metric="f1")
