"""Own data: classes of words, such as named entities."""

from mpjax.tasks.own.tokens import TokenTask

TASK = TokenTask("tokens", "tokens", metric="f1")
